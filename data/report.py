"""What cleaning did, in numbers that must agree: in = train + held out + dropped, per source and in total.

`report.json` holds per source, and under `total`, documents and bytes of UTF-8 text that came in, that went to the
training split, that were held out and that were dropped (documents by reason), the bytes that normalization took away,
those that masking and other edits took away (negative if they added some), and of the documents that stay the
placeholders for personal data by kind and the languages, where they are told apart. `steps` says the same of every
step by itself: what came in is what the step before let out, and in = out + dropped. What went out at the end is
counted in the written files, so that a document lost on the way cannot pass.

Tasks leave such counts in `counts.json`; those of all tasks together are the report.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
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
COUNTS = "counts.json"

BenchmarkCounts = Mapping[str, Mapping[str, int]]


class Sieve(Enum):
    """The steps that may drop a document, in their order."""

    JUDGE = "judge"
    EXACT = "exact"
    LINES = "lines"
    EXACT_AGAIN = "exact_again"
    FUZZY = "fuzzy"
    DECONTAMINATE = "decontaminate"
    TAKE_DOWN = "take_down"


@dataclass(slots=True)
class Count:
    """Documents, and bytes of their text."""

    documents: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one more document."""
        self.documents += 1
        self.bytes += size

    def take(self, plain: Mapping[str, int]) -> None:
        """Add what another count says of itself."""
        self.documents += plain["documents"]
        self.bytes += plain["bytes"]

    def plain(self) -> dict[str, int]:
        """The count as JSON."""
        return {"documents": self.documents, "bytes": self.bytes}


@dataclass(slots=True)
class Flow:
    """What came into a step and went out of it, and what it dropped, by reason."""

    came_in: Count = field(default_factory=Count)
    went_out: Count = field(default_factory=Count)
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, came_in_bytes: int, went_out_bytes: int, *, reason: str = "") -> None:
        """Count one more document: dropped, if there is a reason for it."""
        self.came_in.add(came_in_bytes)
        if reason:
            self.dropped[reason] += 1
        else:
            self.went_out.add(went_out_bytes)

    def take(self, plain: Mapping[str, Any]) -> None:
        """Add what another flow says of itself."""
        self.came_in.take(plain["in"])
        self.went_out.take(plain["out"])
        self.dropped.update(plain["dropped"])

    def plain(self) -> dict[str, Any]:
        """The flow as JSON."""
        return {"in": self.came_in.plain(), "out": self.went_out.plain(), "dropped": dict(self.dropped)}


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
    steps: dict[str, Flow] = field(default_factory=dict)

    def flow(self, sieve: Sieve) -> Flow:
        """The counts of a step."""
        return self.steps.setdefault(sieve.value, Flow())

    def check(self, *, source: str) -> None:
        """Hold what went out against what came in, of the whole and of every step.

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
        self._check_steps(source=source)
        if not self.train.documents:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.reasons.items())) or "none"
            raise DataError(
                f"source {source}: of {self.came_in.documents} documents none is left to train (dropped: {reasons}); "
                "correct its path or members, or ease the filters"
            )

    def _check_steps(self, *, source: str) -> None:
        before, dropped = self.came_in, Counter[str]()
        for name, flow in self._flows():
            if flow.came_in != before or flow.came_in.documents != flow.went_out.documents + flow.dropped.total():
                raise DeterministicError(
                    f"source {source}: {before} came to step {name}, it counted {flow.came_in} in, {flow.went_out} "
                    f"out and {flow.dropped.total()} dropped; this is a bug in data/cleaning, report it"
                )
            before, dropped = flow.went_out, dropped + flow.dropped
        left = Count(self.train.documents + self.heldout.documents, self.train.bytes + self.heldout.bytes)
        if (before, dropped) != (left, self.reasons):
            raise DeterministicError(
                f"source {source}: the steps let out {before} and dropped {dict(dropped)}, but {left} was written and "
                f"{dict(self.reasons)} is listed; this is a bug in data/cleaning, report it"
            )

    def _flows(self) -> list[tuple[str, Flow]]:
        return [(sieve.value, self.steps[sieve.value]) for sieve in Sieve if sieve.value in self.steps]

    def take(self, plain: Mapping[str, Any]) -> None:
        """Add what another balance says of itself."""
        for count, name in ((self.came_in, "in"), (self.train, TRAIN), (self.heldout, HELDOUT)):
            count.take(plain[name])
        self.dropped.take(plain["dropped"])
        self.reasons.update(plain["dropped"]["reasons"])
        self.masked.update(plain["masked"])
        self.languages.update(plain["languages"])
        self.normalized_away_bytes += plain["normalized_away_bytes"]
        self.edited_away_bytes += plain["edited_away_bytes"]
        for name, flow in plain["steps"].items():
            self.flow(Sieve(name)).take(flow)

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
            "steps": {name: flow.plain() for name, flow in self._flows()},
        }


def write_counts(folder: Path, balances: Mapping[str, Balance]) -> None:
    """Leave the counts of a task."""
    (folder / COUNTS).write_bytes(canonical_json({source: one.plain() for source, one in balances.items()}))


def add_counts(folders: Iterable[Path], balances: Mapping[str, Balance]) -> None:
    """Add the counts of all tasks to those of the sources."""
    for folder in folders:
        for source, plain in json.loads((folder / COUNTS).read_bytes()).items():
            balances[source].take(plain)


def count_written(folder: Path, balances: Mapping[str, Balance]) -> None:
    """Count the documents in the written shards, by reading them back."""
    for split in (TRAIN, HELDOUT):
        for path in sorted((folder / split).iterdir()):
            for document in read_documents(path):
                getattr(balances[document.source], split).add(len(document.text.encode()))


def count_dropped(path: Path, balances: Mapping[str, Balance]) -> None:
    """Count the reasons in a list of the dropped, by reading it back."""
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        balances[row["source"]].reasons[row["reason"]] += 1
        balances[row["source"]].dropped.documents += 1


def checked_report(balances: Mapping[str, Balance]) -> tuple[dict[str, Any], Facts]:
    """Check every balance and the total; the report and the artifact's facts. Raises what `Balance.check` does."""
    total = Balance()
    for balance in balances.values():
        total.take(balance.plain())
    for source, balance in [*balances.items(), ("total", total)]:
        balance.check(source=source)
    report = {
        "unicode": UNICODE_VERSION,
        "sources": {source: balance.plain() for source, balance in balances.items()},
        "total": total.plain(),
    }
    return report, {
        "came_in": _say(total.came_in),
        "went_out": f"{_say(total.train)}; held out {_say(total.heldout)}; dropped {total.dropped.documents}",
    }


def _say(count: Count) -> str:
    return f"{count.documents} documents, {count.bytes / 1e6:.2f} MB"
