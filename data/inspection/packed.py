"""What there is to see of stage pack: tokens by source, the mixture, lengths in tokens, and windows as text again."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.artifact import Artifact
from core.seeds import derive_seed
from data.chat import Form
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
from data.loader import RECORD, form_of
from data.shards import Sidecar, TokenStream, document_ends
from data.tokenizer import Tokenizer
from data.wholes import WholeWindows


def blocks(artifact: Artifact, tokenizer: Artifact | None, *, samples: int, seed: int) -> Iterator[Block]:
    """Tables, figures and samples of a pack artifact; `tokenizer` is the artifact that made its ids, if it is there."""
    order: dict[str, Any] = json.loads((artifact.folder / RECORD).read_bytes())
    yield Remark(f"The data root is {artifact.facts['data_root']}.")
    form = form_of(order)
    if form is Form.TEXT:
        yield _sources(order["sources"], artifact.facts["sources"], limits=order.get("max_epochs", {}))
    else:
        yield _wholes(order["sources"], form)
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


def _wholes(sources: list[dict[str, Any]], form: Form) -> Table:
    """Of conversations and pairs; the rest of the room of their windows is padding."""
    rows = [
        [
            Cell(source["name"]),
            number(source["documents"]),
            number(sum(source["dropped"].values())),
            number(source["truncated"]),
            number(source["windows"]),
            part(source["tokens"], source["tokens"] + source["padding_tokens"]),
            part(source["targets"], source["tokens"]),
        ]
        for source in sources
    ]
    columns = ["source", form.value, "too long", "truncated", "windows", "tokens, of the room", "targets that count"]
    return Table(title="Tokens by source", columns=columns, rows=rows)


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
    read = _reader(folder, source, order)
    drawn = {derive_seed(seed, "window", source["name"], index) % source["windows"] for index in range(samples)}
    shown = []
    for window in sorted(drawn):
        ids = read(window)
        runs = list(_runs(tokenizer, ids, order.get("chat", {}).get("ids", {})))
        shown.append(Sample(origin=[Run(f"window {window:,}")], facts=f"{len(ids):,} tokens", runs=runs))
    return Samples(title=f"{source['name']}: windows as text", samples=shown)


def _reader(folder: Path, source: dict[str, Any], order: Mapping[str, Any]) -> Callable[[int], list[int]]:
    """What gives the ids of a window, of a pair those of both its rows; padding is left out."""
    form, seq_len, bos_id = form_of(order), order["seq_len"], order["bos_id"]
    if form is Form.TEXT:
        stream = TokenStream(folder, source["shards"])
        return lambda window: stream.read(window * seq_len, seq_len + 1).tolist()
    wholes = WholeWindows(folder, source, seq_len=seq_len, bos_id=bos_id, form=form)
    return lambda window: [one for row in wholes.ids(window).tolist() for one in _unpadded(row, bos_id)]


def _unpadded(row: list[int], bos_id: int) -> list[int]:
    while row and row[-1] == bos_id:
        row = row[:-1]
    return row


def _runs(tokenizer: Tokenizer, ids: list[int], special: Mapping[str, int]) -> Iterator[Run]:
    """The text between the marks of documents, which decode to nothing, and the marks by name."""
    held: list[int] = []
    names = {tokenizer.bos_id: "⟨bos⟩", tokenizer.eos_id: "⟨eos⟩\n"}
    names |= {one: f"⟨{name.strip('<|>')}⟩" for name, one in special.items()}
    for one in ids:
        if one in names:
            yield from visible(tokenizer.decode(held))
            yield Run(names[one], is_mark=True)
            held = []
        else:
            held.append(one)
    yield from visible(tokenizer.decode(held))
