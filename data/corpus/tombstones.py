"""Tombstones: which documents of a pack were taken out after it was published, and what stood there, by hash.

`tombstones.json` lies beside order.json:
    data_root  SHA-256 of the order.json that it belongs to
    documents  of each its key, source, shard, number in the shard, first byte and last byte plus one in the shard's
               tokens, the date and the reason that were given
    leaves     of each Merkle leaf that was touched its shard, its number, its hash before, and its hash now

With the hashes of before in the place of those of now, the leaves still give the root in the shard's sidecar: so the
order, the data root, and every leaf that was not touched stay as checkable as they were.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from core.durable import write_durably
from core.errors import ConfigError, DataError
from core.hashing import canonical_json
from core.merkle import CHUNK_BYTES
from data.corpus.leaves import leaf_of, leaves_of, root_of

TOMBSTONES = "tombstones.json"
FORMAT = "wholegrain-tombstones-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A document that was taken out of a shard."""

    key: str
    source: str
    shard: str
    document: int
    start_byte: int
    end_byte: int
    date: str
    reason: str

    @property
    def leaves(self) -> range:
        """The Merkle leaves that hold bytes of it."""
        return range(self.start_byte // CHUNK_BYTES, (self.end_byte - 1) // CHUNK_BYTES + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A Merkle leaf that was touched: its hash before and after."""

    shard: str
    leaf: int
    sha256_before: str
    sha256_now: str


@dataclass(slots=True)
class Tombstones:
    """All tombstones of a pack."""

    data_root: str
    documents: list[Tombstone] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)

    def of(self, shard: str) -> dict[int, Leaf]:
        """The touched leaves of a shard, by number."""
        return {one.leaf: one for one in self.leaves if one.shard == shard}

    def documents_of(self, shard: str) -> list[Tombstone]:
        """The documents that were taken out of a shard."""
        return [one for one in self.documents if one.shard == shard]

    def write(self, folder: Path) -> None:
        """Write tombstones.json, sorted, durably."""
        record = {
            "format": FORMAT,
            "data_root": self.data_root,
            "documents": sorted(map(asdict, self.documents), key=lambda one: (one["shard"], one["document"])),
            "leaves": sorted(map(asdict, self.leaves), key=lambda one: (one["shard"], one["leaf"])),
        }
        write_durably(folder / TOMBSTONES, canonical_json(record))


def read_tombstones(folder: Path, *, data_root: str) -> Tombstones:
    """The tombstones of a pack; none if it has no file of them.

    Raises DataError if the file is damaged or belongs to another pack.
    """
    path = folder / TOMBSTONES
    if not path.exists():
        return Tombstones(data_root)
    try:
        record = json.loads(path.read_bytes())
        found = Tombstones(
            record["data_root"],
            [Tombstone(**one) for one in record["documents"]],
            [Leaf(**one) for one in record["leaves"]],
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} cannot be read: {error!r}; get it again from where the pack is from") from error
    if record.get("format") != FORMAT or found.data_root != data_root:
        raise DataError(f"{path} is not the {FORMAT} of this pack, whose data root is {data_root}; take it away")
    return found


def check_date(text: str) -> str:
    """A date as YYYY-MM-DD. Raises ConfigError for another."""
    try:
        if date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise ConfigError(f"date {text!r} is not of the form YYYY-MM-DD; write it so")


def refuse_redacted(folder: Path, *, data_root: str) -> None:
    """Raise DataError if documents were taken out of a pack that is to be replayed exactly."""
    documents = read_tombstones(folder, data_root=data_root).documents
    if documents:
        raise DataError(
            f"shard {documents[0].shard} of {folder} is redacted ({TOMBSTONES}, {len(documents)} documents), so no "
            "training on it gives the published numbers; take the pack as it was, or make a corpus without them"
        )


def shard_flaws(folder: Path, sidecar: Mapping[str, Any], stones: Tombstones) -> Iterator[str]:
    """What is wrong with the tokens of a shard of which documents may have been taken out, one phrase each."""
    path = folder / f"{sidecar['name']}.bin"
    now = list(leaves_of(path))
    yield from leaves_flaws(now, sidecar, stones)
    if path.stat().st_size != sidecar["bin"]["bytes"]:
        yield f"shard {sidecar['name']} has {path.stat().st_size} bytes, not {sidecar['bin']['bytes']}; get it again"
    yield from unzeroed(path, stones.documents_of(sidecar["name"]))


def leaves_flaws(now: Sequence[str], sidecar: Mapping[str, Any], stones: Tombstones) -> Iterator[str]:
    """What is wrong with the leaves of a shard: touched ones by the tombstones, all by the root in the sidecar."""
    name, touched = sidecar["name"], stones.of(sidecar["name"])
    for number, leaf in touched.items():
        if number >= len(now) or now[number] != leaf.sha256_now:
            yield f"leaf {number} of shard {name} is not what its tombstone says; redact again, or get it again"
    before = [touched[number].sha256_before if number in touched else leaf for number, leaf in enumerate(now)]
    if root_of(before) != sidecar["bin"]["merkle_root"]:
        untouched = ", beside what was redacted" if touched else ""
        yield f"shard {name} does not have the Merkle root of its sidecar{untouched}; get it again"


def leaf_flaw(folder: Path, shard: str, number: int, wanted: str, stones: Tombstones) -> str:
    """What is wrong with one leaf, of which `wanted` is the hash before any redaction; empty if nothing is."""
    touched = stones.of(shard).get(number)
    if touched and touched.sha256_before != wanted:
        return f"the tombstone of leaf {number} of shard {shard} says that another hash stood there; get it again"
    expected = touched.sha256_now if touched else wanted
    is_same = leaf_of(folder / f"{shard}.bin", number) == expected
    return "" if is_same else f"leaf {number} of shard {shard} does not have its hash; get the shard again"


def unzeroed(path: Path, documents: list[Tombstone]) -> Iterator[str]:
    """The documents with a tombstone whose tokens are still there."""
    with path.open("rb") as stream:
        for one in documents:
            stream.seek(one.start_byte)
            if any(stream.read(one.end_byte - one.start_byte)):
                yield f"document {one.key} has a tombstone, but its tokens are in shard {one.shard}; redact it again"
