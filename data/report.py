"""What cleaning did, in numbers that must agree: in = train + held out + dropped, per source and in total.

`report.json` holds per source, and under `total`, documents and bytes of UTF-8 text that came in, that went to the
training split, that were held out and that were dropped (documents by reason), the bytes that normalization took away,
those that masking and other edits took away (negative if they added some), and of the documents that stay the
placeholders for personal data by kind and the languages, where they are told apart. What went out is counted in the
written files, so that a document lost on the way cannot pass.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.artifact import Facts
from core.errors import DataError, DeterministicError
from core.hashing import canonical_json
from data.documents import read_documents
from data.steps.normalize import UNICODE_VERSION

REPORT = "report.json"
DROPPED = "dropped.jsonl"
TRAIN = "train"
HELDOUT = "heldout"

BenchmarkCounts = Mapping[str, Mapping[str, int]]


@dataclass(slots=True)
class Count:
    """Documents, and bytes of their text."""

    documents: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one more document."""
        self.documents += 1
        self.bytes += size

    def plain(self) -> dict[str, int]:
        """The count as JSON."""
        return {"documents": self.documents, "bytes": self.bytes}


@dataclass(slots=True)
class Balance:
    """The counts of one source."""

    came_in: Count = field(default_factory=Count)
    train: Count = field(default_factory=Count)
    heldout: Count = field(default_factory=Count)
    dropped: Count = field(default_factory=Count)
    reasons: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    normalized_away_bytes: int = 0
    edited_away_bytes: int = 0

    def check(self, *, source: str) -> None:
        """Hold what went out against what came in.

        Raises DeterministicError if they differ (cleaning lost or made a document), DataError if nothing is left.
        """
        out = self.train.documents + self.heldout.documents + self.dropped.documents
        out_bytes = self.train.bytes + self.heldout.bytes + self.dropped.bytes
        out_bytes += self.normalized_away_bytes + self.edited_away_bytes
        if (out, out_bytes) != (self.came_in.documents, self.came_in.bytes):
            raise DeterministicError(
                f"source {source}: {self.came_in.documents} documents, {self.came_in.bytes} bytes came in, but {out}, "
                f"{out_bytes} went out or were dropped; this is a bug in data/clean.py, report it"
            )
        if not self.train.documents:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.reasons.items())) or "none"
            raise DataError(
                f"source {source}: of {self.came_in.documents} documents none is left to train (dropped: {reasons}); "
                "correct its path or members, or ease the filters"
            )

    def plain(self) -> dict[str, Any]:
        """The balance as JSON."""
        return {
            "in": self.came_in.plain(),
            "train": self.train.plain(),
            "heldout": self.heldout.plain(),
            "dropped": {**self.dropped.plain(), "reasons": dict(self.reasons)},
            "normalized_away_bytes": self.normalized_away_bytes,
            "edited_away_bytes": self.edited_away_bytes,
            "masked": dict(self.masked),
            "languages": dict(self.languages),
        }


def count_written(aside: Path, balances: Mapping[str, Balance]) -> None:
    """Count the documents in the written shards and the reasons in the list of the dropped, by reading them back."""
    for folder, split in ((TRAIN, "train"), (HELDOUT, "heldout")):
        for path in sorted((aside / folder).iterdir()):
            for document in read_documents(path):
                getattr(balances[document.source], split).add(len(document.text.encode()))
    for line in (aside / DROPPED).read_bytes().splitlines():
        row = json.loads(line)
        balances[row["source"]].reasons[row["reason"]] += 1
        balances[row["source"]].dropped.documents += 1


def write_report(aside: Path, balances: Mapping[str, Balance], *, benchmarks: BenchmarkCounts | None = None) -> Facts:
    """Check every balance and the total, write report.json, and return the artifact's facts.

    `benchmarks` says of every evaluation set how many records it has, how many of them are too short to look for and
    how many were found, and in how many documents.
    """
    total = _total(balances)
    for source, balance in [*balances.items(), ("total", total)]:
        balance.check(source=source)
    report = {
        "unicode": UNICODE_VERSION,
        "sources": {source: balance.plain() for source, balance in balances.items()},
        "total": total.plain(),
        "benchmarks": benchmarks or {},
    }
    (aside / REPORT).write_bytes(canonical_json(report))
    return {
        "came_in": _say(total.came_in),
        "went_out": f"{_say(total.train)}; held out {_say(total.heldout)}; dropped {total.dropped.documents}",
    }


def _total(balances: Mapping[str, Balance]) -> Balance:
    total = Balance()
    for balance in balances.values():
        for name in ("came_in", "train", "heldout", "dropped"):
            mine, theirs = getattr(total, name), getattr(balance, name)
            mine.documents += theirs.documents
            mine.bytes += theirs.bytes
        total.reasons += balance.reasons
        total.masked += balance.masked
        total.languages += balance.languages
        total.normalized_away_bytes += balance.normalized_away_bytes
        total.edited_away_bytes += balance.edited_away_bytes
    return total


def _say(count: Count) -> str:
    return f"{count.documents} documents, {count.bytes / 1e6:.2f} MB"
