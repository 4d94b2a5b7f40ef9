"""What there is to see of stage tokenizer: what it was trained on, its pieces, and held-out text cut into tokens."""

import json
from collections import Counter
from collections.abc import Iterator

from sentencepiece import sentencepiece_model_pb2

from core.artifact import Artifact
from data.documents import Document, read_documents
from data.inspection.blocks import (
    BYTES,
    SHOWN_CHARS,
    Block,
    Cell,
    Figure,
    Histogram,
    Remark,
    Run,
    Sample,
    Samples,
    Table,
    bin_of,
    number,
    size,
    visible,
)
from data.inspection.choice import First, chosen, drawn
from data.report import HELDOUT
from data.tokenizer import MODEL, SPACE_MARK, Tokenizer

LISTED_PIECES = 200
LONGEST_PIECES = 40
NORMAL, BYTE = 1, 6


def blocks(artifact: Artifact, clean: Artifact | None, *, samples: int, seed: int) -> Iterator[Block]:
    """Tables, figures and samples of a tokenizer artifact; `clean` is what it was trained on, if it is there."""
    training = json.loads((artifact.folder / "training.json").read_bytes())
    yield _fed(training["fed"])
    yield _heldout(artifact)
    pieces = _pieces(artifact)
    lengths = Counter(bin_of(len(piece.encode())) for piece in pieces)
    yield Figure(
        title="Length of the pieces",
        histograms=[Histogram(title="vocabulary", counts=lengths)],
        unit=BYTES,
        of="pieces",
    )
    yield _piece_samples(pieces, seed)
    if clean is None:
        yield Remark("The documents that it was trained on are not there, so no text is shown cut into tokens.")
        return
    yield from _cut(Tokenizer.open(artifact.folder), clean, samples=samples, seed=seed)


def _fed(fed: dict[str, dict[str, int]]) -> Table:
    rows = [
        [
            Cell(source),
            number(one["documents"]),
            size(one["text_bytes"]),
            number(one["sentences"]),
            size(one["fed_bytes"]),
            number(one["newline_bytes"]),
            number(one["reserved_bytes"]),
            number(one["documents_with_space_mark"]),
        ]
        for source, one in fed.items()
    ]
    columns = [
        "source",
        "documents",
        "text",
        "sentences",
        "fed",
        "line ends",
        "reserved bytes",
        "documents with U+2581",
    ]
    return Table(title="What it was trained on", columns=columns, rows=rows)


def _heldout(artifact: Artifact) -> Table:
    rows = [
        [
            Cell(source),
            number(one["documents"]),
            size(one["bytes"]),
            number(one["tokens"]),
            Cell(f"{one['bytes'] / one['tokens']:.2f}" if one["tokens"] else "none", is_number=True),
            number(one["lossless"]),
        ]
        for source, one in sorted(artifact.facts["heldout"].items())
    ]
    columns = ["source", "documents", "text", "tokens", "bytes a token", "documents that come back exactly"]
    return Table(title="Held-out documents", columns=columns, rows=rows)


def _pieces(artifact: Artifact) -> list[str]:
    proto = sentencepiece_model_pb2.ModelProto.FromString((artifact.folder / MODEL).read_bytes())
    return [piece.piece.replace(SPACE_MARK, " ") for piece in proto.pieces if piece.type == NORMAL]


def _piece_samples(pieces: list[str], seed: int) -> Samples:
    picked = chosen(pieces, count=LISTED_PIECES, rank=lambda piece: drawn(seed, "piece", piece))
    longest = chosen(pieces, count=LONGEST_PIECES, rank=lambda piece: (-len(piece), piece))
    return Samples(
        title="Pieces",
        samples=[
            Sample(origin=[Run(origin)], facts=f"of {len(pieces):,}", runs=list(_coloured(some)))
            for origin, some in (("drawn by lot", picked), ("the longest", longest))
        ],
        note="One colour a piece, in turns.",
    )


def _coloured(pieces: list[str]) -> Iterator[Run]:
    for index, piece in enumerate(pieces):
        yield from visible(piece, parity=index % 2)
        yield Run(" ")


def _cut(tokenizer: Tokenizer, clean: Artifact, *, samples: int, seed: int) -> Iterator[Samples]:
    for path in sorted((clean.folder / HELDOUT).glob("*.jsonl")):
        picked: First[Document] = First(samples)
        for document in read_documents(path):
            picked.offer(drawn(seed, document.source, document.key), document)
        if len(picked):
            shown = [_tokens(tokenizer, document.text, document.origin) for document in picked]
            yield Samples(title=f"{path.stem}: held-out documents, token by token", samples=shown)


def _tokens(tokenizer: Tokenizer, text: str, origin: str) -> Sample:
    head = text[:SHOWN_CHARS]
    ids = tokenizer.encode(head)
    runs = [run for index, piece in enumerate(_decoded(tokenizer, ids)) for run in visible(piece, parity=index % 2)]
    facts = f"{len(head.encode()) / max(1, len(ids)):.2f} bytes a token"
    return Sample(origin=list(visible(origin)), facts=facts, runs=runs, left_out=len(text) - len(head))


def _decoded(tokenizer: Tokenizer, ids: list[int]) -> Iterator[str]:
    """The text of token after token; bytes of one character are held together."""
    held: list[int] = []
    for one in ids:
        held.append(one)
        text = tokenizer.decode(held)
        if "\ufffd" not in text or len(held) == 4:
            yield text
            held = []
    if held:
        yield tokenizer.decode(held)
