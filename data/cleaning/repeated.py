"""Lines or paragraphs of many documents: three phases that count them, find the common ones, and take those out.

What stands in a document travels as fixed records: first by the hash of the part, so that one task sees all documents
that hold it, then by the key of a document that loses it. What each task holds is said with it; no table of all parts
exists anywhere.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from data.cleanconfig import CleanConfig
from data.cleaning.buckets import BucketWriter, bucket_of, read_frames
from data.cleaning.judge import text_reason
from data.cleaning.rows import Row
from data.cleaning.settle import read_kept
from data.engine import Step
from data.report import Balance, Sieve, write_counts
from data.steps.lines import LinesConfig, hashes_of, without
from data.steps.normalize import normalize
from data.steps.pii import count_placeholders

HASH_BYTES, KEY_BYTES = 16, 16
# A part of a document: the part's hash, the rank of the document's source, the document's key; big-endian.
HOLDER = np.dtype([("hash", ">u8", 2), ("rank", ">u4"), ("key", ">u8", 2)])
# What a document loses: its key and the part's hash.
LOSS = np.dtype([("key", ">u8", 2), ("hash", ">u8", 2)])


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectParts(Step):
    """Writes, by hash, who holds which part. Holds one document and what waits to be written."""

    name: ClassVar[str] = "collect lines"
    settled: list[Path]
    order: list[str]
    config: LinesConfig
    buckets: int

    def run(self, task: int, out: Path) -> None:
        """Collect the parts of the documents in bucket `task`."""
        with BucketWriter(out, buckets=self.buckets) as buckets:
            for row in read_kept([self.settled[task]], self.order):
                holder = self.order.index(row.source).to_bytes(4, "big") + bytes.fromhex(row.key)
                for number in sorted(hashes_of(row.text, self.config)):
                    buckets.add((number * self.buckets) >> 128, number.to_bytes(HASH_BYTES, "big") + holder)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindRepeated(Step):
    """Writes, by document, which parts it loses. Holds the records of one bucket of parts: 36 bytes each, and indices.

    The holder that comes first by (rank, key) keeps the part.
    """

    name: ClassVar[str] = "find repeated lines"
    collected: list[Path]
    config: LinesConfig
    buckets: int

    def run(self, task: int, out: Path) -> None:
        """Find what is repeated in bucket `task` of the hashes."""
        holders = np.frombuffer(b"".join(read_frames(self.collected, task)), dtype=HOLDER)
        losses = find_losses(holders, min_documents=self.config.min_documents)
        with BucketWriter(out, buckets=self.buckets) as buckets:
            for loss in losses:
                buckets.add((int(loss["key"][0] >> 32) * self.buckets) >> 32, loss.tobytes())


def find_losses(holders: NDArray[np.void], *, min_documents: int) -> NDArray[np.void]:
    """The losses of all holders but the first of every part that stands in at least `min_documents`."""
    hashes, keys = holders["hash"], holders["key"]
    by_part = np.lexsort((keys[:, 1], keys[:, 0], holders["rank"], hashes[:, 1], hashes[:, 0]))
    hashes, keys = hashes[by_part], keys[by_part]
    is_first = np.ones(len(holders), dtype=bool)
    is_first[1:] = (hashes[1:] != hashes[:-1]).any(axis=1)
    sizes = np.diff(np.append(np.flatnonzero(is_first), len(holders)))
    is_lost = np.repeat(sizes >= min_documents, sizes) & ~is_first
    losses = np.empty(int(is_lost.sum()), dtype=LOSS)
    losses["key"], losses["hash"] = keys[is_lost], hashes[is_lost]
    return losses


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOutLines(Step):
    """Writes the rows of one bucket, without what they lose, by their new keys. Holds the losses of that bucket.

    What is left is judged again; a document that is dropped for it stays as it was before.
    """

    name: ClassVar[str] = "take out lines"
    settled: list[Path]
    losses: list[Path]
    order: list[str]
    config: CleanConfig
    buckets: int
    is_text_kept: bool

    def run(self, task: int, out: Path) -> None:
        """Take lines out of the documents in bucket `task`."""
        lost: defaultdict[str, set[int]] = defaultdict(set)
        for frame in read_frames(self.losses, task):
            for at in range(0, len(frame), LOSS.itemsize):
                key, number = frame[at : at + KEY_BYTES], frame[at + KEY_BYTES : at + LOSS.itemsize]
                lost[key.hex()].add(int.from_bytes(number, "big"))
        balances = {name: Balance() for name in self.order}
        with BucketWriter(out, buckets=self.buckets) as buckets:
            for before in read_kept([self.settled[task]], self.order):
                row = self._shortened(before, lost[before.key]) if before.key in lost else before
                balances[row.source].flow(Sieve.LINES).add(before.size, row.size, reason=row.reason)
                buckets.add(bucket_of(row.key, self.buckets), row.line())
        write_counts(out, balances)

    def _shortened(self, row: Row, lost: set[int]) -> Row:
        text = normalize(without(row.text, lost, self.config.lines))
        reason = text_reason(text, self.config)
        if reason:
            return row.dropped(reason, is_text_kept=self.is_text_kept)
        return row.with_text(text, masked=count_placeholders(text, row.masked))
