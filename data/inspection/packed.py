"""What there is to see of stage pack: tokens by source, the mixture, lengths in tokens, and windows as text again."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.artifact import Artifact
from core.seeds import derive_seed
from data.inspection.blocks import (
    EDGES,
    Block,
    Cell,
    Figure,
    Histogram,
    Remark,
    Run,
    Sample,
    Samples,
    Table,
    number,
    part,
    visible,
)
from data.loader import RECORD
from data.shards import Sidecar, TokenStream, document_ends
from data.tokenizer import Tokenizer


def blocks(artifact: Artifact, tokenizer: Artifact | None, *, samples: int, seed: int) -> Iterator[Block]:
    """Tables, figures and samples of a pack artifact; `tokenizer` is the artifact that made its ids, if it is there."""
    order: dict[str, Any] = json.loads((artifact.folder / RECORD).read_bytes())
    yield Remark(f"The data root is {artifact.facts['data_root']}.")
    yield _sources(order["sources"], artifact.facts["sources"], limits=order.get("max_epochs", {}))
    yield _phases(order["phases"])
    yield Figure(
        title="Length of the documents",
        histograms=[
            Histogram(title=source["name"], counts=_lengths(artifact.folder, source["shards"]))
            for source in order["sources"]
        ],
        unit="tokens",
    )
    if tokenizer is None:
        yield Remark("The tokenizer that made the ids is not there, so no window is shown as text.")
        return
    opened = Tokenizer.open(tokenizer.folder)
    for source in order["sources"]:
        yield _windows(artifact.folder, source, opened, order=order, samples=samples, seed=seed)


def _sources(
    sources: list[dict[str, Any]], facts: Mapping[str, Mapping[str, Any]], *, limits: Mapping[str, int]
) -> Table:
    tokens = sum(source["tokens"] for source in sources)
    rows = [
        [
            Cell(source["name"]),
            number(source["documents"]),
            part(source["tokens"], tokens),
            _ratio(facts, source["name"]),
            number(source["windows"]),
            number(source["unused_tokens"]),
            number(len(source["shards"])),
            Cell(str(limits.get(source["name"], "none")), is_number=True),
        ]
        for source in sources
    ]
    columns = ["source", "documents", "tokens", "bytes a token", "windows", "tokens left over", "shards"]
    return Table(title="Tokens by source", columns=[*columns, "most epochs"], rows=rows)


def _ratio(facts: Mapping[str, Mapping[str, Any]], source: str) -> Cell:
    """Bytes a token; the pack knows it of the sources that it encoded itself."""
    return Cell(f"{facts[source]['bytes_per_token']:.2f}" if source in facts else "the parent's", is_number=True)


def _phases(phases: list[dict[str, Any]]) -> Table:
    rows = [
        [
            Cell(phase.get("name", "the only one")),
            number(phase["start"]),
            Cell(name),
            part(weight, sum(phase["weights"].values())),
        ]
        for phase in phases
        for name, weight in phase["weights"].items()
    ]
    return Table(title="Mixture", columns=["phase", "from sample", "source", "weight"], rows=rows, shown=40)


def _lengths(folder: Path, shards: list[Sidecar]) -> Mapping[int, int]:
    counts: Counter[int] = Counter()
    for sidecar in shards:
        ends = document_ends(folder, sidecar).astype(np.int64)
        places = np.searchsorted(EDGES, np.diff(ends, prepend=0), side="right") - 1
        found = np.unique(places, return_counts=True)
        counts.update(dict(zip(*(column.tolist() for column in found), strict=True)))
    return counts


def _windows(
    folder: Path, source: dict[str, Any], tokenizer: Tokenizer, *, order: dict[str, Any], samples: int, seed: int
) -> Samples:
    stream = TokenStream(folder, source["shards"])
    seq_len = order["seq_len"]
    drawn = {derive_seed(seed, "window", source["name"], index) % source["windows"] for index in range(samples)}
    shown = []
    for window in sorted(drawn):
        ids = stream.read(window * seq_len, seq_len + 1).tolist()
        runs = list(_runs(tokenizer, ids))
        shown.append(Sample(origin=[Run(f"window {window:,}")], facts=f"{len(ids):,} tokens", runs=runs))
    return Samples(title=f"{source['name']}: windows as text", samples=shown)


def _runs(tokenizer: Tokenizer, ids: list[int]) -> Iterator[Run]:
    """The text between the marks of documents, which decode to nothing, and the marks by name."""
    held: list[int] = []
    names = {tokenizer.bos_id: "⟨bos⟩", tokenizer.eos_id: "⟨eos⟩\n"}
    for one in ids:
        if one in names:
            yield from visible(tokenizer.decode(held))
            yield Run(names[one], is_mark=True)
            held = []
        else:
            held.append(one)
    yield from visible(tokenizer.decode(held))
