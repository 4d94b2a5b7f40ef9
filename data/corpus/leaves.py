"""The Merkle leaves of shards: what lets a part of a shard be checked without reading the rest.

`leaves.jsonl` holds a line a shard, `{"leaves": [...], "shard": NAME}`, with the hash of every chunk of CHUNK_BYTES of
its tokens in hex. Nobody has to trust it: the leaves of a shard must give the Merkle root in its sidecar.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import DataError
from core.hashing import canonical_json
from core.merkle import CHUNK_BYTES, leaf_hash, merkle_root

LEAVES = "leaves.jsonl"


def leaves_of(path: Path) -> Iterator[str]:
    """The hash of every chunk of a file, in order. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield leaf_hash(chunk).hex()
    except OSError as error:
        raise DataError(f"shard {path} cannot be read: {error.strerror}; get it again") from error


def leaf_of(path: Path, index: int) -> str:
    """The hash of one chunk of a file; reads no other. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(index * CHUNK_BYTES)
            return leaf_hash(stream.read(CHUNK_BYTES)).hex()
    except OSError as error:
        raise DataError(f"shard {path} cannot be read: {error.strerror}; get it again") from error


def root_of(leaves: Sequence[str]) -> str:
    """The Merkle root, in hex, of leaf hashes in hex."""
    return merkle_root([bytes.fromhex(leaf) for leaf in leaves]).hex()


def write_leaves(path: Path, shards: Iterable[tuple[Mapping[str, Any], Path]]) -> None:
    """Write the leaves of shards, given as sidecars with the path of their tokens.

    Raises DataError if a shard's tokens do not have the root that its sidecar says.
    """
    with path.open("xb") as stream:
        for sidecar, tokens in shards:
            leaves = list(leaves_of(tokens))
            if root_of(leaves) != sidecar["bin"]["merkle_root"]:
                raise DataError(f"shard {tokens} does not have the Merkle root of its sidecar; run stage pack again")
            stream.write(canonical_json({"shard": sidecar["name"], "leaves": leaves}) + b"\n")


def read_leaves(path: Path) -> dict[str, list[str]]:
    """The leaves of every shard, by its name. Raises DataError if the file is not there or damaged."""
    try:
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        return {row["shard"]: [str(leaf) for leaf in row["leaves"]] for row in rows}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}); get it again, or check without --sample") from error
