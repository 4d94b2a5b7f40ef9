"""Verb redact: takes documents out of a published pack, or out of a copy of one, and leaves a tombstone.

usage: python -m data redact PACK (--document KEY --reason TEXT --date YYYY-MM-DD | --documents FILE)

PACK is a folder with order.json and shards. A document is named by its key, the first 32 hex digits of the SHA-256 of
its text. FILE is JSON lines, each `{"key", "reason", "date"}`, as `clean.taken_down` reads them too. The tokens become
zeros (the mark `<unk>`, which no text gives), lengths stay: so the order, the data root and every other leaf can still
be checked (tombstones.py). A training that replays the pack exactly is refused from then on.

The tombstone is written before the tokens go: a run that is killed between is finished by the same command.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.arguments import Parser
from core.artifact import RECORD as ARTIFACT
from core.durable import write_durably
from core.errors import ConfigError, DataError
from core.merkle import CHUNK_BYTES, leaf_hash
from data.corpus.keys import places_of
from data.corpus.tombstones import Leaf, Tombstone, Tombstones, check_date, leaves_flaws, read_tombstones
from data.documents import KEY_DIGITS
from data.loader import read_record
from data.shards import Sidecar

USAGE = "python -m data redact PACK (--document KEY --reason TEXT --date YYYY-MM-DD | --documents FILE)"


@dataclass(frozen=True, slots=True)
class Request:
    """A document that is to go, why, and since when."""

    key: str
    reason: str
    date: str

    def __post_init__(self) -> None:
        if len(self.key) != KEY_DIGITS or set(self.key) - set("0123456789abcdef"):
            raise ConfigError(f"document key {self.key!r} is not {KEY_DIGITS} lower-case hex digits; write all")
        if not self.reason.strip():
            raise ConfigError(f"document {self.key} is to go without a reason; give one")
        check_date(self.date)


def main(arguments: list[str]) -> None:
    """Run the verb: one line a document on standard output."""
    parser = Parser(USAGE)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--document", default="")
    parser.add_argument("--reason", default="")
    parser.add_argument("--date", default="")
    parser.add_argument("--documents", type=Path)
    given = parser.parse_args(arguments)
    if bool(given.document) == bool(given.documents):
        raise ConfigError(f"name a document, or a file of documents; usage: {USAGE}")
    requests = (
        read_requests(given.documents) if given.documents else [Request(given.document, given.reason, given.date)]
    )
    for stone in redact(given.pack, requests):
        place = f"shard {stone.shard}, bytes {stone.start_byte} to {stone.end_byte}"
        sys.stdout.write(f"document {stone.key} of {stone.source}: {place}, {len(stone.leaves)} leaves\n")


def read_requests(path: Path) -> list[Request]:
    """The documents that a file names. Raises ConfigError naming the first line that is none."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; give a file of documents") from error
    requests = []
    for number, line in enumerate(lines, start=1):
        try:
            row: Any = json.loads(line)
            requests.append(Request(str(row["key"]), str(row["reason"]), str(row["date"])))
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{path} line {number} has no key, reason and date: {error!r}; mend it") from error
    return requests


def redact(pack: Path, requests: Iterable[Request]) -> list[Tombstone]:
    """Zero the tokens of documents and write their tombstones, and return these.

    Raises DataError if a document is not in the pack, or a shard is not what its sidecar says: then nothing is changed.
    """
    refuse_artifact(pack)
    record, data_root = read_record(pack)
    sidecars: list[Sidecar] = [sidecar for source in record["sources"] for sidecar in source["shards"]]
    stones = read_tombstones(pack, data_root=data_root)
    wanted = {request.key: request for request in requests}
    found = find(pack, sidecars, wanted)
    by_shard: dict[str, list[Tombstone]] = defaultdict(list)
    for stone in found:
        by_shard[stone.shard].append(stone)
    known = {(stone.shard, stone.document) for stone in stones.documents}
    for sidecar in sidecars:
        if sidecar["name"] in by_shard:
            check_before(pack, sidecar, stones)
    for name, mine in by_shard.items():
        stones.leaves = [*(one for one in stones.leaves if one.shard != name), *redacted_leaves(pack, mine, stones)]
    stones.documents += [stone for stone in found if (stone.shard, stone.document) not in known]
    stones.write(pack)
    for name, mine in by_shard.items():
        path = pack / f"{name}.bin"
        write_durably(path, zeroed(path.read_bytes(), mine))
    return found


def refuse_artifact(pack: Path) -> None:
    """Raise ConfigError if a folder is the artifact of a run, which must stay what its record says."""
    pointer = pack.parent / "pack.json"
    if (pack / ARTIFACT).exists() and pointer.exists():
        raise ConfigError(f"{pack} is the artifact of a run in {pack.parent}; copy it elsewhere and redact the copy")


def find(pack: Path, sidecars: list[Sidecar], wanted: dict[str, Request]) -> list[Tombstone]:
    """The tombstones of the wanted documents. Raises DataError naming one that the pack does not hold."""
    found = [
        Tombstone(
            key=key,
            source=place.source,
            shard=place.shard,
            document=place.document,
            start_byte=place.start_byte,
            end_byte=place.end_byte,
            date=wanted[key].date,
            reason=wanted[key].reason,
        )
        for key, place in places_of(pack, sidecars, set(wanted))
    ]
    missing = sorted(wanted.keys() - {stone.key for stone in found})
    if missing:
        raise DataError(f"no document {missing[0]} in the shards of {pack}; held-out and dropped ones are in no shard")
    return found


def check_before(pack: Path, sidecar: Sidecar, stones: Tombstones) -> None:
    """Raise DataError if a shard is not what its sidecar says: its leaves would be put down as what stood there.

    A document with a tombstone whose tokens are still there is no such flaw: this run removes them.
    """
    path = pack / f"{sidecar['name']}.bin"
    try:
        content = zeroed(path.read_bytes(), stones.documents_of(sidecar["name"]))
    except OSError as error:
        raise DataError(f"shard {path} cannot be read: {error.strerror}; nothing was changed") from error
    leaves = [_leaf(content, number) for number in range(-(-len(content) // CHUNK_BYTES))]
    wrong = next(leaves_flaws(leaves, sidecar, stones), "")
    if wrong:
        raise DataError(f"{wrong}; nothing was changed")


def redacted_leaves(pack: Path, documents: list[Tombstone], stones: Tombstones) -> list[Leaf]:
    """All touched leaves of a shard once these documents are gone too."""
    shard = documents[0].shard
    content = (pack / f"{shard}.bin").read_bytes()
    emptied = zeroed(content, [*stones.documents_of(shard), *documents])
    before = stones.of(shard)
    numbers = sorted(before.keys() | {number for one in documents for number in one.leaves})
    return [
        Leaf(
            shard=shard,
            leaf=number,
            sha256_before=before[number].sha256_before if number in before else _leaf(content, number),
            sha256_now=_leaf(emptied, number),
        )
        for number in numbers
    ]


def zeroed(content: bytes, documents: Iterable[Tombstone]) -> bytes:
    """A shard's tokens with those of documents set to zero."""
    changed = bytearray(content)
    for one in documents:
        changed[one.start_byte : one.end_byte] = bytes(one.end_byte - one.start_byte)
    return bytes(changed)


def _leaf(content: bytes, number: int) -> str:
    return leaf_hash(content[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]).hex()
