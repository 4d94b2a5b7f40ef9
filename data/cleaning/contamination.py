"""Text of evaluation sets in the corpus: two phases, since an n-gram of too many documents is no evidence.

First every document is searched for the n-grams that are looked for, then, with the number of documents that hold each,
it is decided which documents go. Both hold the n-grams of all benchmarks.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from core.hashing import canonical_json
from data.chat import contents_of
from data.cleaning.buckets import BucketWriter, bucket_of, read_lines
from data.cleaning.near import read_twins
from data.cleaning.settle import read_kept
from data.engine import Step
from data.steps.decontaminate import DecontaminationConfig, Evidence, read_benchmarks, shared_ngrams

FOUND = "found.jsonl"
BENCHMARKS = "benchmarks.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchBenchmarks(Step):
    """Writes key and n-grams of the documents of one bucket that share some. Holds one of them, and its bucket's twins.

    twins  folders that say which documents are gone as near-duplicates
    """

    name: ClassVar[str] = "search benchmarks"
    settled: list[Path]
    twins: list[Path]
    order: list[str]
    config: DecontaminationConfig

    def run(self, task: int, out: Path) -> None:
        """Search the documents of bucket `task`."""
        _, wanted, widths = read_benchmarks(self.config)
        gone = read_twins(self.twins, task)
        with (out / FOUND).open("xb") as stream:
            for row in read_kept([self.settled[task]], self.order):
                if row.key not in gone:
                    shared = shared_ngrams(contents_of(row.text), wanted=wanted, widths=widths)
                    if shared:
                        stream.write(canonical_json([row.key, shared]) + b"\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighEvidence(Step):
    """Writes, by key, for which benchmark a document goes, and what is reported of each. One task; it holds no rows."""

    name: ClassVar[str] = "weigh evidence"
    searched: list[Path]
    config: DecontaminationConfig
    buckets: int

    def run(self, task: int, out: Path) -> None:
        """Count the holders of every n-gram, then weigh the documents."""
        benchmarks, _, _ = read_benchmarks(self.config)
        holders = Counter(number for _, shared in self._found() for number in shared)
        evidence = Evidence(benchmarks, holders, self.config)
        with BucketWriter(out, buckets=self.buckets) as writer:
            for key, shared in self._found():
                name = evidence.weigh(shared)
                if name:
                    writer.add(bucket_of(key, self.buckets), canonical_json([key, name]) + b"\n")
        (out / BENCHMARKS).write_bytes(canonical_json(evidence.report()))

    def _found(self) -> Iterator[tuple[str, list[int]]]:
        for folder in self.searched:
            with (folder / FOUND).open("rb") as stream:
                for line in stream:
                    key, shared = json.loads(line)
                    yield key, shared


def read_contaminated(folders: list[Path], bucket: int) -> dict[str, str]:
    """The keys of a bucket's documents that go, each with the reason."""
    return {key: f"contaminated_{name}" for key, name in map(json.loads, read_lines(folders, bucket))}


def read_report(folders: list[Path]) -> dict[str, Any]:
    """What is reported of the benchmarks; nothing if there are none."""
    return {name: said for folder in folders for name, said in json.loads((folder / BENCHMARKS).read_bytes()).items()}
