"""What there is to see of stage clean: counts and reasons, lengths, languages, and documents that stay and that go.

One pass over the written documents and, where they are kept, over the texts of the dropped ones; what is held in memory
does not grow with the corpus.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.artifact import Artifact
from core.errors import DataError
from data.cleaning.publish import DROPPED_TEXTS
from data.documents import Document, read_documents
from data.inspection.blocks import (
    BYTES,
    Block,
    Cell,
    Figure,
    Histogram,
    Remark,
    Samples,
    Table,
    bin_of,
    number,
    part,
    sample,
    say_bytes,
    size,
    spread,
)
from data.inspection.choice import First, drawn
from data.report import HELDOUT, REPORT, TRAIN, Sieve
from data.steps.language import LanguageConfig, identify

IDENTIFIED_DOCUMENTS = 200
EXTREMES = 3
EXTREME_CHARS = 400
NOT_KEPT = (
    "The texts of dropped documents are not kept: run stage clean with data.keep_dropped=true to see samples and "
    "lengths of them here. dropped.jsonl names each by key, source and reason."
)


@dataclass(slots=True)
class Seen:
    """What one pass over documents leaves: lengths, and few of the documents themselves."""

    lengths: Counter[int]
    samples: First[tuple[Document, str]]
    longest: First[Document]
    shortest: First[Document]
    heads: First[str]

    @classmethod
    def empty(cls, samples: int) -> "Seen":
        """Nothing seen yet; `samples` documents will be chosen."""
        return cls(Counter(), First(samples), First(EXTREMES), First(EXTREMES), First(IDENTIFIED_DOCUMENTS))

    def add(self, document: Document, *, note: str, seed: int) -> None:
        """See one more document; `note` is what is said of it beside its text."""
        count_bytes = len(document.text.encode())
        names = (document.key, document.origin, note)
        rank = drawn(seed, document.source, document.key)
        self.lengths[bin_of(count_bytes)] += 1
        self.samples.offer((*rank, *names), (document, note))
        self.longest.offer((-count_bytes, *names), document)
        self.shortest.offer((count_bytes, *names), document)
        self.heads.offer((*rank, *names), document.text[: LanguageConfig().max_chars])


@dataclass(slots=True)
class Dropped:
    """What the texts of dropped documents show: lengths by source, and samples by reason."""

    lengths: dict[str, Counter[int]] = field(default_factory=dict)
    samples: dict[str, First[tuple[Document, str]]] = field(default_factory=dict)


def blocks(artifact: Artifact, *, samples: int, seed: int) -> Iterator[Block]:
    """Tables, figures and samples of a clean artifact."""
    folder = artifact.folder
    report: dict[str, Any] = json.loads((folder / REPORT).read_bytes())
    sources: dict[str, dict[str, Any]] = report["sources"]
    kept = {name: Seen.empty(samples) for name in sources}
    for part_of in (TRAIN, HELDOUT):
        for path in sorted((folder / part_of).glob("*.jsonl")):
            for document in read_documents(path):
                kept[document.source].add(document, note="held out" if part_of == HELDOUT else "", seed=seed)
    dropped = _dropped(folder, samples=samples, seed=seed)
    yield _balances(sources, report["total"])
    yield from _steps(report["total"]["steps"])
    yield _reasons(sources, report["total"])
    yield from _counts(sources, "masked", title="Personal data masked in documents that stay", what="placeholder")
    yield from _benchmarks(report["benchmarks"])
    yield _lengths("Lengths of documents that stay", {name: seen.lengths for name, seen in kept.items()})
    if dropped.lengths:
        yield _lengths("Lengths of documents that are dropped", dropped.lengths)
    yield _languages(sources, kept)
    for name, seen in kept.items():
        yield Samples(title=f"{name}: documents that stay", samples=[_show(one, note) for one, note in seen.samples])
        yield Samples(
            title=f"{name}: the longest and the shortest that stay",
            samples=[_show(one, "", chars=EXTREME_CHARS) for one in (*seen.longest, *seen.shortest)],
        )
    for reason, picked in sorted(dropped.samples.items()):
        yield Samples(title=f"Dropped as {reason}", samples=[_show(one, note) for one, note in picked])
    if not dropped.samples and report["total"]["dropped"]["documents"]:
        yield Remark(NOT_KEPT)


def _show(document: Document, note: str, **chars: int) -> Any:
    said = [document.source, say_bytes(len(document.text.encode())), note, document.key]
    return sample(document.text, origin=document.origin, facts=" · ".join(filter(None, said)), **chars)


def _dropped(folder: Path, *, samples: int, seed: int) -> Dropped:
    found = Dropped()
    for path in sorted((folder / DROPPED_TEXTS).glob("*.jsonl")):
        for document, reason, twin in _dropped_texts(path):
            lengths = found.lengths.setdefault(document.source, Counter())
            lengths[bin_of(len(document.text.encode()))] += 1
            first = found.samples.setdefault(reason, First(samples))
            rank = drawn(seed, reason, document.source, document.key, document.origin)
            first.offer(rank, (document, f"like {twin}" if twin else ""))
    return found


def _dropped_texts(path: Path) -> Iterator[tuple[Document, str, str]]:
    """Documents with the reason why they are dropped and, of near-duplicates, the key of what stays."""
    with path.open("rb") as stream:
        for line_number, line in enumerate(stream, start=1):
            try:
                row = json.loads(line)
                document = Document(row["key"], row["source"], row["text"], row["origin"])
                yield document, row["reason"], row.get("twin", "")
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{path} line {line_number} is no dropped document: {error!r}; run stage clean again"
                ) from error


def _balances(sources: Mapping[str, Any], total: Mapping[str, Any]) -> Table:
    rows = [
        [
            Cell(name),
            number(one["in"]["documents"]),
            size(one["in"]["bytes"]),
            part(one["train"]["documents"], one["in"]["documents"]),
            part(one["heldout"]["documents"], one["in"]["documents"]),
            part(one["dropped"]["documents"], one["in"]["documents"]),
            size(one["train"]["bytes"] + one["heldout"]["bytes"]),
            number(one["normalized_away_bytes"]),
            number(one["edited_away_bytes"]),
        ]
        for name, one in [*sources.items(), ("total", total)]
    ]
    columns = ["source", "came in", "text", "train", "held out", "dropped", "text that stays"]
    columns += ["bytes normalized away", "bytes edited away"]
    return Table(title="Documents by source", columns=columns, rows=rows, shown=len(rows))


def _steps(steps: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """What each step let through, in their order; those that had nothing to do are left out."""
    rows = [
        [
            Cell(name),
            number(one["in"]["documents"]),
            size(one["in"]["bytes"]),
            part(sum(one["dropped"].values()), one["in"]["documents"]),
            number(one["out"]["documents"]),
            size(one["out"]["bytes"]),
        ]
        for name, one in ((sieve.value, steps[sieve.value]) for sieve in Sieve if sieve.value in steps)
        if one["dropped"] or one["in"]["bytes"] != one["out"]["bytes"]
    ]
    if rows:
        columns = ["step", "came in", "text", "dropped", "went out", "text that went out"]
        yield Table(title="Step by step", columns=columns, rows=rows)


def _reasons(sources: Mapping[str, Any], total: Mapping[str, Any]) -> Table:
    counts = {name: one["dropped"]["reasons"] for name, one in sources.items()}
    documents = total["dropped"]["documents"]
    return Table(
        title="Why documents were dropped",
        columns=["reason", "documents, of all dropped", "by source"],
        rows=list(_by_source(counts, documents)),
        note="" if documents else "None was dropped.",
    )


def _by_source(counts: Mapping[str, Mapping[str, int]], whole: int) -> Iterator[list[Cell]]:
    """Rows of what is counted by source, the most frequent first."""
    total: Counter[str] = Counter()
    for mine in counts.values():
        total.update(mine)
    for name, count in sorted(total.items(), key=lambda one: (-one[1], one[0])):
        yield [
            Cell(name),
            part(count, whole),
            spread({source: mine[name] for source, mine in counts.items() if name in mine}),
        ]


def _counts(sources: Mapping[str, Any], name: str, *, title: str, what: str) -> Iterator[Table]:
    counts = {source: one[name] for source, one in sources.items()}
    total = sum(sum(mine.values()) for mine in counts.values())
    if total:
        yield Table(title=title, columns=[what, "times", "by source"], rows=list(_by_source(counts, total)))


def _benchmarks(benchmarks: Mapping[str, Mapping[str, int]]) -> Iterator[Table]:
    if benchmarks:
        rows = [
            [
                Cell(name),
                number(one["records"]),
                number(one["too_short"]),
                number(one["found"]),
                number(one["documents"]),
            ]
            for name, one in benchmarks.items()
        ]
        columns = ["evaluation set", "records", "too short to look for", "found", "documents that hold them"]
        yield Table(title="Evaluation sets looked for", columns=columns, rows=rows)


def _lengths(title: str, lengths: Mapping[str, Counter[int]]) -> Figure:
    total: Counter[int] = Counter()
    for mine in lengths.values():
        total.update(mine)
    named: Iterable[tuple[str, Counter[int]]] = [("all sources", total)] if len(lengths) > 1 else []
    histograms = [Histogram(title=name, counts=counts) for name, counts in (*named, *lengths.items())]
    return Figure(title=title, histograms=histograms, unit=BYTES)


def _languages(sources: Mapping[str, Any], kept: Mapping[str, Seen]) -> Table:
    title, columns = "Languages of documents that stay", ["language", "documents", "by source"]
    counts: dict[str, Mapping[str, int]] = {name: one["languages"] for name, one in sources.items()}
    note = "As stage clean told them apart, of every document."
    if not any(counts.values()):
        config = LanguageConfig()
        counts = {name: Counter(identify(head, config) for head in seen.heads) for name, seen in kept.items()}
        note = f"Told apart here, of at most {IDENTIFIED_DOCUMENTS} documents of each source."
    whole = sum(sum(mine.values()) for mine in counts.values())
    return Table(title=title, columns=columns, rows=list(_by_source(counts, whole)), note=note)
