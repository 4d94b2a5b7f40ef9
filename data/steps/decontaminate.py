"""Drops documents that hold text of evaluation sets, so that a score measures no memory.

A document is dropped if it shares a word n-gram with a record of a benchmark (Brown et al. 2020, arXiv:2005.14165,
appendix C: 13-grams, letter case and punctuation aside; records of fewer words are looked for whole, from 8 words on;
n-grams that more than 10 documents of the corpus hold are common phrases and no evidence). Where we differ: the whole
document goes, not 200 characters around the find; a letter of a script without spaces is a word (data/steps/words.py).

The files are JSON lines and pinned by hash, so that the result follows from the recipe; where they lie is placement.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from core.config import placement
from core.errors import ConfigError, DataError
from core.hashing import sha256_hex
from data.documents import Document
from data.steps.minhash import Hashes, shingles_of
from data.steps.words import words_of
from data.workers import mapping


@dataclass(kw_only=True, slots=True)
class Benchmark:
    """An evaluation set: JSON lines with the SHA-256 of the file, and the fields of a record that hold its text."""

    name: str
    sha256: str
    fields: list[str]
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


@dataclass(frozen=True, slots=True)
class Found:
    """The benchmark for which each dropped document is dropped, by key, and what is reported of every benchmark."""

    dropped: dict[str, str]
    report: dict[str, dict[str, int]]


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


def find_contaminated(documents: Sequence[Document], *, config: DecontaminationConfig, workers: int) -> Found:
    """Which documents hold text of a benchmark; of several the first in the recipe is named."""
    read = [read_benchmark(benchmark, config) for benchmark in config.benchmarks]
    lengths = sorted({width for _, widths in read for width in widths})
    wanted = np.unique(np.concatenate([record for one, _ in read for record in one.records] or [_NONE]))
    with mapping(workers) as mapped:
        act = partial(shared_ngrams, wanted=wanted, widths=lengths)
        shared: list[list[int]] = list(mapped(act, [document.text for document in documents]))
    holders = Counter(number for numbers in shared for number in numbers)
    evidence = [{number for number in numbers if holders[number] <= config.max_documents} for numbers in shared]
    dropped: dict[str, str] = {}
    report = {}
    present = set().union(*evidence)
    for one, _ in read:
        mine = {int(number) for record in one.records for number in record}
        hit = [document.key for document, numbers in zip(documents, evidence, strict=True) if numbers & mine]
        report[one.name] = {
            "records": len(one.records),
            "too_short": sum(not len(record) for record in one.records),
            "found": sum(not present.isdisjoint(record.tolist()) for record in one.records),
            "documents": len(hit),
        }
        dropped = dict.fromkeys(hit, one.name) | dropped
    return Found(dropped, report)


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
