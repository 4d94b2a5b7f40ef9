"""Drops documents that hold text of evaluation sets, so that a score measures no memory.

A document is dropped if it shares a word n-gram with a record of a benchmark (Brown et al. 2020, arXiv:2005.14165,
appendix C: 13-grams, letter case and punctuation aside; records of fewer words are looked for whole, from 8 words on;
n-grams that more than 10 documents of the corpus hold are common phrases and no evidence). Where we differ: the whole
document goes, not 200 characters around the find; a letter of a script without spaces is a word (data/steps/words.py).

The files are JSON lines, by themselves or in an archive such as a wheel of the package index, and pinned by hash, so
that the result follows from the recipe; where they lie is placement.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from core.config import placement
from core.errors import ConfigError, DataError
from core.hashing import sha256_hex
from data.reading.archive import MOST_BYTES, read_members
from data.reading.compression import plain_blocks, whole_content
from data.steps.minhash import Hashes, shingles_of
from data.steps.words import words_of


@dataclass(kw_only=True, slots=True)
class Benchmark:
    """An evaluation set: JSON lines with the SHA-256 of the file, and the fields of a record that hold its text.

    member  if the file is an archive, as a wheel: which of its members, perhaps compressed, holds the lines
    """

    name: str
    sha256: str
    fields: list[str]
    member: str = ""
    path: Path = placement(Path)


@dataclass(kw_only=True, slots=True)
class DecontaminationConfig:
    """Field `decontamination` of section `clean`, off without benchmarks.

    ngram          words in a row that must be shared
    min_words      a text of a record with fewer words is not looked for
    max_documents  an n-gram that more documents hold is no evidence
    """

    benchmarks: list[Benchmark] = field(default_factory=list)
    ngram: int = 13
    min_words: int = 8
    max_documents: int = 10

    def __post_init__(self) -> None:
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) < len(names):
            raise ConfigError(f"decontamination.benchmarks names one twice: {', '.join(names)}; names must differ")
        if not 1 <= self.min_words <= self.ngram or self.max_documents < 1:
            raise ConfigError(
                f"decontamination has ngram {self.ngram}, min_words {self.min_words} and max_documents "
                f"{self.max_documents}; give at least 1, and no more min_words than ngram"
            )


@dataclass(frozen=True, slots=True)
class Wanted:
    """The n-grams of a benchmark, sorted, record by record; a record without any is too short to look for."""

    name: str
    records: list[Hashes]


def read_benchmark(benchmark: Benchmark, config: DecontaminationConfig) -> tuple[Wanted, set[int]]:
    """The n-grams of a benchmark and their lengths in words.

    Raises DataError if the file is not there or another one, or a record lacks a field.
    """
    try:
        content = benchmark.path.read_bytes()
    except OSError as error:
        raise DataError(
            f"benchmark {benchmark.name}: {benchmark.path} cannot be read: {error.strerror}; correct its path"
        ) from error
    if sha256_hex(content) != benchmark.sha256:
        raise DataError(
            f"benchmark {benchmark.name}: {benchmark.path} has SHA-256 {sha256_hex(content)}, the recipe says "
            f"{benchmark.sha256 or 'none'}; give the file that was meant, or its hash"
        )
    if benchmark.member:
        content = _member(benchmark)
    records, widths = [], set()
    for number, line in enumerate(content.splitlines(), start=1):
        hashes = []
        for text in _texts(line, benchmark, where=f"{benchmark.path} line {number}"):
            count = len(words_of(text))
            if count >= config.min_words:
                widths.add(min(count, config.ngram))
                hashes.append(shingles_of(text, ngram=config.ngram))
        records.append(np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, dtype=np.uint64))
    return Wanted(benchmark.name, records), widths


def _member(benchmark: Benchmark) -> bytes:
    """The plain content of the archive's member."""
    name, content = next(read_members(benchmark.path, [benchmark.member]))
    return whole_content(plain_blocks(BytesIO(content), name), name=name, most_bytes=MOST_BYTES)


def read_benchmarks(config: DecontaminationConfig) -> tuple[list[Wanted], Hashes, list[int]]:
    """All benchmarks, the n-grams of all of them, sorted, and the lengths of those. Raises as read_benchmark does."""
    read = [read_benchmark(benchmark, config) for benchmark in config.benchmarks]
    wanted = np.unique(np.concatenate([record for one, _ in read for record in one.records] or [_NONE]))
    return [one for one, _ in read], wanted, sorted({width for _, widths in read for width in widths})


class Evidence:
    """Counts, for each benchmark, the documents that hold its text, and which of its records were found.

    `holders` says of every n-gram how many documents hold it.
    """

    def __init__(self, benchmarks: Sequence[Wanted], holders: Mapping[int, int], config: DecontaminationConfig) -> None:
        self._benchmarks = benchmarks
        self._ngrams = [{int(number) for record in one.records for number in record} for one in benchmarks]
        self._holders, self._most = holders, config.max_documents
        self._present: set[int] = set()
        self._documents = Counter[str]()

    def weigh(self, shared: Iterable[int]) -> str:
        """The name of the first benchmark of which a document with these n-grams holds text; empty: of none."""
        evidence = {number for number in shared if self._holders[number] <= self._most}
        self._present |= evidence
        zipped = zip(self._benchmarks, self._ngrams, strict=True)
        hit = [one.name for one, ngrams in zipped if not evidence.isdisjoint(ngrams)]
        self._documents.update(hit)
        return hit[0] if hit else ""

    def report(self) -> dict[str, dict[str, int]]:
        """Of every benchmark its records, those too short to look for, those found, and the documents."""
        return {
            one.name: {
                "records": len(one.records),
                "too_short": sum(not len(record) for record in one.records),
                "found": sum(not self._present.isdisjoint(record.tolist()) for record in one.records),
                "documents": self._documents[one.name],
            }
            for one in self._benchmarks
        }


def shared_ngrams(text: str, *, wanted: Hashes, widths: Sequence[int]) -> list[int]:
    """Which of the wanted n-grams, all of one of the lengths, a text holds."""
    found = [np.intersect1d(shingles_of(text, ngram=width), wanted, assume_unique=True) for width in widths]
    return sorted({int(number) for numbers in found for number in numbers})


_NONE: Hashes = np.zeros(0, dtype=np.uint64)


def _texts(line: bytes, benchmark: Benchmark, *, where: str) -> Iterator[str]:
    """The texts of a record's fields; a list, as of choices, is taken item by item."""
    try:
        record: Any = json.loads(line)
        values = [record[name] for name in benchmark.fields]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"benchmark {benchmark.name}: {where} is no record with {', '.join(benchmark.fields)}: {error!r}; "
            "correct decontamination.benchmarks.fields or the file"
        ) from error
    for value in values:
        yield from map(str, value if isinstance(value, list) else [value])
