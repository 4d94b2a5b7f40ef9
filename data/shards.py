"""Token shards: what a source's documents become, and how they are read back.

A shard is three files. `NAME.bin` holds token ids, little-endian, 16 bits each (32 if the vocabulary is larger), one
document after the other and nothing between them. `NAME.idx` holds the end of every document, in tokens from the start
of the shard, as 64-bit little-endian integers. `NAME.json`, the sidecar, holds counts and hashes of both, and the
Merkle root of the tokens, so that a part can be proven later without the whole. Conversations have a fourth file,
`NAME.mask` (wholes.py).
The shards of a source, in the order of their numbers, are one stream of tokens.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.hashing import canonical_json, hash_file
from core.merkle import chunk_root

FORMAT = "wholegrain-shard-1"
INDEX_TYPE = "<u8"

Tokens = NDArray[np.uint16] | NDArray[np.uint32]
Sidecar = dict[str, Any]


def token_type(vocab_size: int) -> str:
    """The narrowest type that holds every id, as numpy names it."""
    return "<u2" if vocab_size <= 1 << 16 else "<u4"


def write_shards(
    folder: Path, source: str, documents: Iterable[Sequence[int] | Tokens], *, vocab_size: int, shard_tokens: int
) -> list[Sidecar]:
    """Write a source's documents as shards of at most `shard_tokens` tokens, and return their sidecars.

    A document is never split: one that is longer than a shard makes a shard of its own.
    """
    arrays = (np.asarray(document, dtype=token_type(vocab_size)) for document in documents)
    groups = _fill(arrays, shard_tokens)
    return [write_shard(folder, source, number, group, vocab_size=vocab_size) for number, group in enumerate(groups)]


def _fill(documents: Iterable[Tokens], shard_tokens: int) -> Iterator[list[Tokens]]:
    held: list[Tokens] = []
    count = 0
    for document in documents:
        if held and count + document.size > shard_tokens:
            yield held
            held, count = [], 0
        held.append(document)
        count += document.size
    if held:
        yield held


def write_shard(
    folder: Path,
    source: str,
    number: int,
    documents: Sequence[Tokens | NDArray[np.int64]],
    *,
    vocab_size: int,
    masks: Sequence[NDArray[np.bool_]] = (),
) -> Sidecar:
    """Write one shard, with `masks` over the tokens of its documents if there are any, and return its sidecar."""
    kind = np.dtype(token_type(vocab_size))
    tokens = np.concatenate(documents).astype(kind, copy=False).tobytes()
    ends = np.cumsum([document.size for document in documents], dtype=INDEX_TYPE).tobytes()
    name = f"{source}-{number:05d}"
    sidecar: Sidecar = {
        "format": FORMAT,
        "name": name,
        "source": source,
        "type": kind.str,
        "tokens": len(tokens) // kind.itemsize,
        "documents": len(documents),
        "bin": {**_sealed(tokens), "merkle_root": chunk_root(memoryview(tokens)).hex()},
        "idx": _sealed(ends),
    }
    if masks:
        mask = np.concatenate(masks).astype(np.uint8).tobytes()
        sidecar["mask"] = _sealed(mask)
        (folder / f"{name}.mask").write_bytes(mask)
    (folder / f"{name}.bin").write_bytes(tokens)
    (folder / f"{name}.idx").write_bytes(ends)
    (folder / f"{name}.json").write_bytes(canonical_json(sidecar))
    return sidecar


def _sealed(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def verify_shard(folder: Path, sidecar: Sidecar) -> None:
    """Hold a shard's files against the sidecar that was expected.

    Raises DataError naming the file that is missing, cut or changed.
    """
    path = folder / f"{sidecar['name']}.json"
    try:
        is_same = json.loads(path.read_bytes()) == sidecar
    except (OSError, ValueError) as error:
        raise DataError(f"no readable sidecar {path}: {error}; make the shards again") from error
    if not is_same:
        raise DataError(f"sidecar {path} is not the one that order.json lists; make the shards again")
    for suffix in files_of(sidecar):
        _verify_file(folder / f"{sidecar['name']}.{suffix}", sidecar[suffix])


def files_of(sidecar: Mapping[str, Any]) -> tuple[str, ...]:
    """The endings of a shard's files whose hashes the sidecar holds."""
    return ("bin", "idx", "mask") if "mask" in sidecar else ("bin", "idx")


def _verify_file(path: Path, expected: Mapping[str, Any]) -> None:
    try:
        size, digest = path.stat().st_size, hash_file(path)
    except OSError as error:
        raise DataError(f"shard file {path} cannot be read: {error}; make the shards again") from error
    if size != expected["bytes"]:
        raise DataError(f"shard {path} has {size} bytes, its record says {expected['bytes']}; make the shards again")
    if digest != expected["sha256"]:
        raise DataError(f"shard {path} has SHA-256 {digest}, its record says {expected['sha256']}; make it again")


class TokenStream:
    """A source's shards, memory-mapped, as one stream of tokens, or of the bytes of their masks."""

    def __init__(self, folder: Path, sidecars: Sequence[Sidecar], *, suffix: str = "bin") -> None:
        self._shards = [
            np.memmap(
                folder / f"{sidecar['name']}.{suffix}",
                dtype=sidecar["type"] if suffix == "bin" else np.uint8,
                mode="r",
            )
            for sidecar in sidecars
        ]
        self._ends = list(accumulate(shard.size for shard in self._shards))

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, start: int, count: int) -> NDArray[np.int64]:
        """Tokens start..start+count-1 of the stream, from as many shards as they lie in."""
        assert start >= 0 and start + count <= len(self), f"tokens {start}+{count} of {len(self)}"
        tokens = np.empty(count, dtype=np.int64)
        done, shard = 0, bisect_right(self._ends, start)
        while done < count:
            offset = start + done - (self._ends[shard] - self._shards[shard].size)
            part = self._shards[shard][offset : offset + count - done]
            tokens[done : done + part.size] = part
            done, shard = done + part.size, shard + 1
        return tokens


def document_ends(folder: Path, sidecar: Sidecar) -> NDArray[np.uint64]:
    """Where the documents of a shard end, in tokens from its start; the last end is the number of its tokens."""
    return np.fromfile(folder / f"{sidecar['name']}.idx", dtype=INDEX_TYPE)
