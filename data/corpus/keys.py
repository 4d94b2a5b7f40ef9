"""Which document lies where in a pack: `NAME.keys` holds the 16 bytes of the key of every document of shard NAME.

The keys stand in the order of the documents, so the n-th key's tokens end at the n-th end in `NAME.idx`. They are
beside the sidecar and not in it: order.json holds the sidecars, and the data root is older than the keys.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import DataError
from data.documents import KEY_DIGITS
from data.shards import document_ends

SUFFIX = ".keys"
KEY_BYTES = KEY_DIGITS // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a document's tokens lie: its shard and source, its number there, and its first and last byte plus one."""

    shard: str
    source: str
    document: int
    start_byte: int
    end_byte: int


def write_keys(folder: Path, keys: Iterable[str], sidecars: Sequence[Mapping[str, Any]]) -> None:
    """Write the keys of a source's documents, in their order, beside its shards.

    Raises DataError if there are more or fewer keys than documents.
    """
    remaining = iter(keys)
    for sidecar in sidecars:
        mine = list(islice(remaining, sidecar["documents"]))
        if len(mine) != sidecar["documents"]:
            raise DataError(f"shard {sidecar['name']} has {sidecar['documents']} documents, but {len(mine)} keys")
        (folder / f"{sidecar['name']}{SUFFIX}").write_bytes(bytes.fromhex("".join(mine)))
    if next(remaining, None) is not None:
        raise DataError(f"source {sidecars[0]['source']} has more document keys than documents in its shards")


def read_keys(folder: Path, sidecar: Mapping[str, Any]) -> list[str]:
    """The keys of a shard's documents. Raises DataError if the file is not there or has another number of them."""
    path = folder / f"{sidecar['name']}{SUFFIX}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"no readable {path}: {error.strerror}; pack again with this code") from error
    if len(content) != sidecar["documents"] * KEY_BYTES:
        raise DataError(f"{path} has {len(content)} bytes, not {KEY_BYTES} for each document; pack again")
    return [content[at : at + KEY_BYTES].hex() for at in range(0, len(content), KEY_BYTES)]


def places_of(folder: Path, sidecars: Iterable[Mapping[str, Any]], wanted: set[str]) -> Iterator[tuple[str, Place]]:
    """Where the documents with wanted keys lie, each with its key."""
    for sidecar in sidecars:
        found = [(number, key) for number, key in enumerate(read_keys(folder, sidecar)) if key in wanted]
        if not found:
            continue
        ends = [0, *(int(end) for end in document_ends(folder, dict(sidecar)))]
        width = np.dtype(sidecar["type"]).itemsize
        for number, key in found:
            yield (
                key,
                Place(
                    shard=sidecar["name"],
                    source=sidecar["source"],
                    document=number,
                    start_byte=ends[number] * width,
                    end_byte=ends[number + 1] * width,
                ),
            )
