"""Last phases: write what stays by source, and list what is dropped.

What the steps before decided by key is applied here, so that a text is written once. Every document that comes in is
counted, and those that were written are counted again by reading them back.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, ClassVar

from core.hashing import canonical_json
from core.seeds import derive_seed
from data.cleanconfig import CleanConfig
from data.cleaning.buckets import BucketWriter, read_lines
from data.cleaning.contamination import read_contaminated
from data.cleaning.near import read_twins
from data.cleaning.rows import NEAR_DUPLICATE, TAKEN_DOWN, Row, precedence
from data.cleaning.settle import read_dropped, read_kept
from data.documents import Document, line_of
from data.engine import Step
from data.report import DROPPED, HELDOUT, TRAIN, Balance, Sieve, count_dropped, count_written, write_counts

DROPPED_TEXTS = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSource(Step):
    """Writes the training shards and held-out documents of one source, and the rows that go only now, by key.

    Holds one document, the keys taken down, and the decisions on one bucket.
    """

    name: ClassVar[str] = "write"
    settled: list[Path]
    twins: list[Path]
    contaminated: list[Path]
    sources: list[str]
    order: list[str]
    config: CleanConfig
    is_text_kept: bool

    def run(self, task: int, out: Path) -> None:
        """Write source `task`."""
        source = self.sources[task]
        balance = Balance()
        (out / TRAIN).mkdir()
        (out / HELDOUT).mkdir()
        with ExitStack() as stack:
            late = stack.enter_context(BucketWriter(out, buckets=len(self.settled)))
            held = stack.enter_context((out / HELDOUT / f"{source}.jsonl").open("xb"))
            shards = stack.enter_context(Shards(out / TRAIN, source, self.config))
            for bucket, row in self._decided(source, balance):
                if row.reason:
                    late.add(bucket, row.line())
                    continue
                count_kept(row, balance)
                document = row.document
                is_held = is_heldout(row.key, seed=self.config.seed, permille=self.config.heldout_permille)
                (held.write if is_held else shards.write)(line_of(document))
        count_written(out, {source: balance})
        write_counts(out, {source: balance})

    def _decided(self, source: str, balance: Balance) -> Iterator[tuple[int, Row]]:
        """Every row of the source with its bucket, dropped if one of the steps that are on says so."""
        taken_down = dict.fromkeys(self.config.taken_down.keys(), TAKEN_DOWN)
        for bucket, folder in enumerate(self.settled):
            twins = read_twins(self.twins, bucket)
            decisions = {
                Sieve.FUZZY: dict.fromkeys(twins, NEAR_DUPLICATE) if self.twins else None,
                Sieve.DECONTAMINATE: read_contaminated(self.contaminated, bucket) if self.contaminated else None,
                Sieve.TAKE_DOWN: taken_down if self.config.taken_down.is_on else None,
            }
            for row in read_kept([folder], self.order, source):
                for sieve, reasons in decisions.items():
                    if reasons is not None and not row.reason:
                        size, reason = row.size, reasons.get(row.key, "")
                        balance.flow(sieve).add(size, size, reason=reason)
                        if reason:
                            twin = twins.get(row.key, "")
                            row = row.dropped(reason, is_text_kept=self.is_text_kept, twin=twin)
                yield bucket, row


def count_kept(row: Row, balance: Balance) -> None:
    """Count what was changed in a document that stays."""
    balance.normalized_away_bytes += row.found_bytes - row.normalized_bytes
    balance.edited_away_bytes += row.normalized_bytes - row.size
    balance.masked.update(row.masked)
    balance.languages.update([row.language] if row.language else [])


def is_heldout(key: str, *, seed: int, permille: int) -> bool:
    """Whether a document is held out: a pure function of its key and the seed."""
    return derive_seed(seed, "heldout", key) % 1000 < permille


class Shards:
    """Cuts the lines of a source into files; at least one, and a line longer than a shard has its own."""

    def __init__(self, folder: Path, source: str, config: CleanConfig) -> None:
        self._folder, self._source, self._config = folder, source, config
        self._documents = self._bytes = self._index = 0
        self._stream = self._open()

    def __enter__(self) -> "Shards":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, line: bytes) -> None:
        """Put a line behind the others, in a new file if this one is full."""
        is_full = self._documents == self._config.shard_documents or self._bytes + len(line) > self._config.shard_bytes
        if self._documents and is_full:
            self._stream.close()
            self._documents = self._bytes = 0
            self._index += 1
            self._stream = self._open()
        self._stream.write(line)
        self._documents += 1
        self._bytes += len(line)

    def _open(self) -> IO[bytes]:
        return (self._folder / f"{self._source}-{self._index:05d}.jsonl").open("xb")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDropped(Step):
    """Lists what is dropped of one bucket, sorted; with the texts, by source, where they are kept.

    Holds the rows of that bucket that are dropped.
    """

    name: ClassVar[str] = "list dropped"
    settled: list[Path]
    written: list[Path]
    order: list[str]
    is_text_kept: bool

    def run(self, task: int, out: Path) -> None:
        """List what is dropped of bucket `task`."""
        balances = {name: Balance() for name in self.order}
        place = precedence(self.order)
        early = ((place(row), row) for row in map(Row.parse, read_dropped([self.settled[task]], self.order)))
        # What goes only now stands where it stood as one that stays: before others of its key, source and origin.
        late = ((place(row)[:3], row) for row in map(Row.parse, read_lines(self.written, task)))
        rows = [row for _, row in sorted(chain(early, late), key=lambda placed: placed[0])]
        with (out / DROPPED).open("xb") as stream:
            for row in rows:
                stream.write(canonical_json(describe(row)) + b"\n")
                mine = balances[row.source]
                mine.normalized_away_bytes += row.found_bytes - row.normalized_bytes
                mine.edited_away_bytes += row.normalized_bytes - row.size
                mine.dropped.bytes += row.size
        count_dropped(out / DROPPED, balances)
        if self.is_text_kept:
            (out / DROPPED_TEXTS).mkdir()
            for source in self.order:
                lines = (text_line(row) for row in rows if row.source == source)
                (out / DROPPED_TEXTS / f"{source}.jsonl").write_bytes(b"".join(lines))
        write_counts(out, balances)


def describe(row: Row) -> dict[str, str]:
    """What is said of a dropped document: for a near-duplicate also the key of what stays."""
    said = {"key": row.key, "source": row.source, "reason": row.reason}
    return said | ({"twin": row.twin} if row.twin else {})


def text_line(row: Row) -> bytes:
    """A dropped document with its text."""
    document: Document = row.document
    return canonical_json(describe(row) | {"origin": document.origin, "text": document.text}) + b"\n"
