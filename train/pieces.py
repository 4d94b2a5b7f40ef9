"""The state cut in fixed chunks, each with one owner, whatever the placement: what a rank hashes and writes.

A chunk is CHUNK_BYTES of one whole tensor (core/merkle.py), so chunks and their hashes are the same at every placement.
A rank owns the chunks whose first element it holds. Where a placement cuts through a chunk, the rest is sent to the
owner: at most one chunk for each cut. Nothing is ever gathered on one rank.

Weights and moments do not change between two updates. So whole chunks that a rank holds in its host's memory are hashed
and written from where they lie, while the next step's gradients are computed, and only what is not written when the
next update comes is copied first (`Snapshots.let_go`). What is put together of several ranks' parts, or lies on a GPU,
is copied at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby
from threading import Lock

import torch
from torch import Tensor

from core.merkle import CHUNK_BYTES, chunks, merkle_root, named_root
from train.hashes import hashed
from train.placed import Placed, Span, kept_names
from train.runtime import World
from train.tensorfile import FP32_BYTES

CHUNK_ELEMENTS = CHUNK_BYTES // FP32_BYTES
# What is read while an update may have to wait for it.
LENT_ELEMENTS = 8 * CHUNK_ELEMENTS

Leaves = dict[tuple[str, int], bytes]


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements of a tensor that one rank holds and one rank owns."""

    span: Span
    holder: int
    owner: int


@dataclass(slots=True)
class Stretch:
    """Whole chunks of a tensor that lie behind each other, beginning with element `start`; flat, fp32, in memory.

    Whoever reads it holds the lock, and says when it is not needed any more.
    """

    name: str
    start: int
    values: Tensor
    is_done: bool = False
    lock: Lock = field(default_factory=Lock)

    @property
    def content(self) -> memoryview:
        """The bytes."""
        return self.values.numpy().data.cast("B")

    def leaves(self) -> Leaves:
        """The hash of every chunk, by the tensor's name and the chunk's index."""
        first = self.start // CHUNK_ELEMENTS
        return {(self.name, first + k): leaf for k, leaf in enumerate(hashed(chunks(self.content)))}


def pieces_of(held: Sequence[Sequence[Span]]) -> list[Piece]:
    """Cut what the ranks hold, `held[rank]`, in pieces ordered by name and element; what several hold counts once."""
    placed = sorted((span.name, span.start, rank, span) for rank, spans in enumerate(held) for span in spans)
    pieces: list[Piece] = []
    for name, spans in groupby(placed, key=lambda entry: entry[0]):
        covered, owner = 0, 0
        for _, _, rank, span in spans:
            start = max(span.start, covered)
            edge = min(span.stop, -(-start // CHUNK_ELEMENTS) * CHUNK_ELEMENTS)
            if start < edge:
                pieces.append(Piece(Span(name, start, edge), rank, owner))
            if edge < span.stop and start < span.stop:
                owner = rank
                pieces.append(Piece(Span(name, max(start, edge), span.stop), rank, owner))
            covered = max(covered, span.stop)
    return pieces


class Snapshots:
    """What this rank owns, as it was at one time; the next one may be taken when this one is not read any more."""

    def __init__(self, placed: Placed, world: World) -> None:
        self._world = world
        pieces = pieces_of([_kept_spans(placed, rank) for rank in range(world.size)])
        held = [
            (Span(name, one.span.start, one.span.stop), tensor)
            for one in placed.segments
            for name, tensor in zip(
                kept_names(one.span.name, placed.groups), (one.weights, *one.moments.values()), strict=True
            )
        ]
        rank, ranks = world.rank, range(world.size)
        # On a GPU all is copied, to page-locked memory: that copy runs at the link's full speed.
        self._is_pinned = world.device == "cuda"
        sizes = {
            kept: shape.numel() for name, shape in placed.shapes.items() for kept in kept_names(name, placed.groups)
        }
        lent, owned = [], []
        for piece in pieces:
            if piece.owner == rank:
                inner = None if self._is_pinned or piece.holder != rank else _whole_chunks(piece.span, sizes)
                lent += _in_parts(inner) if inner else []
                owned += [replace(piece, span=span) for span in _besides(piece.span, inner)]
        self._lendable = [(span, _source(span, held)) for span in lent]
        self._lent: list[Stretch] = []
        self._buffer = torch.empty(sum(piece.span.count for piece in owned), pin_memory=self._is_pinned)
        targets = dict(zip(owned, self._buffer.split_with_sizes([p.span.count for p in owned]), strict=True))
        self._copies = _stretches(targets)
        sources = {piece: _source(piece.span, held) for piece in pieces if piece.holder == rank != piece.owner}
        self._copied = [(targets[piece], _source(piece.span, held)) for piece in owned if piece.holder == rank]
        sent = [[p for p in pieces if p.holder == rank and p.owner == other != rank] for other in ranks]
        taken = [[p for p in owned if p.holder == other != rank] for other in ranks]
        self._sent = [sources[piece] for piece in chain.from_iterable(sent)]
        self._taken = [targets[piece] for piece in chain.from_iterable(taken)]
        self._sent_counts = [sum(piece.span.count for piece in own) for own in sent]
        self._taken_counts = [sum(piece.span.count for piece in own) for own in taken]

    def take(self) -> list[Stretch]:
        """The state as it is now, until `let_go`; all ranks call it together."""
        with torch.no_grad():
            for target, source in self._copied:
                target.copy_(source, non_blocking=self._is_pinned)
            sent = torch.cat(self._sent) if self._sent else torch.empty(0)
            received = self._world.exchange(sent, sent=self._sent_counts, received=self._taken_counts)
            parts = received.split_with_sizes([target.numel() for target in self._taken])
            for target, part in zip(self._taken, parts, strict=True):
                target.copy_(part, non_blocking=self._is_pinned)
        if self._is_pinned:
            torch.cuda.synchronize()
        self._lent = [Stretch(span.name, span.start, values) for span, values in self._lendable]
        return sorted([*self._lent, *self._copies], key=lambda stretch: (stretch.name, stretch.start))

    def let_go(self) -> None:
        """Called before weights or moments change: copy what is still to be read of them."""
        for stretch in self._lent:
            with stretch.lock:
                if not stretch.is_done:
                    stretch.values = stretch.values.clone()
        self._lent = []


def whole(tensors: Mapping[str, Tensor]) -> list[Stretch]:
    """All chunks of whole tensors."""
    return [Stretch(name, 0, tensor.detach().reshape(-1)) for name, tensor in tensors.items()]


def chunk_hashes(leaves: Leaves) -> dict[str, list[bytes]]:
    """The chunks' hashes in their order, by the tensor's name."""
    ordered = sorted(leaves)
    return {name: [leaves[key] for key in keys] for name, keys in groupby(ordered, key=lambda key: key[0])}


def root_of(hashes: Mapping[str, Sequence[bytes]]) -> str:
    """The state root: what checkpoint.state_root gives of the whole tensors."""
    return named_root({name: merkle_root(own) for name, own in hashes.items()})


def _kept_spans(placed: Placed, rank: int) -> list[Span]:
    return [
        Span(name, span.start, span.stop)
        for span in placed.spans(rank)
        for name in kept_names(span.name, placed.groups)
    ]


def _whole_chunks(span: Span, sizes: Mapping[str, int]) -> Span | None:
    """What a span covers in whole chunks of its tensor, the last of which may be short."""
    first = -(-span.start // CHUNK_ELEMENTS) * CHUNK_ELEMENTS
    last = span.stop if span.stop == sizes[span.name] else span.stop // CHUNK_ELEMENTS * CHUNK_ELEMENTS
    return Span(span.name, first, last) if first < last else None


def _besides(span: Span, inner: Span | None) -> list[Span]:
    """What a span covers before and behind an inner one; nothing empty."""
    if inner is None:
        return [span]
    parts = (Span(span.name, span.start, inner.start), Span(span.name, inner.stop, span.stop))
    return [part for part in parts if part.count]


def _in_parts(span: Span) -> list[Span]:
    """Short enough that nobody waits long for one to be read."""
    starts = range(span.start, span.stop, LENT_ELEMENTS)
    return [Span(span.name, start, min(start + LENT_ELEMENTS, span.stop)) for start in starts]


def _source(want: Span, held: Sequence[tuple[Span, Tensor]]) -> Tensor:
    return next(
        tensor[want.start - span.start : want.stop - span.start]
        for span, tensor in held
        if span.name == want.name and span.start <= want.start and want.stop <= span.stop
    )


def _stretches(targets: Mapping[Piece, Tensor]) -> list[Stretch]:
    """Pieces that follow each other in a tensor, which follow each other in the buffer too, in one."""
    stretches: list[Stretch] = []
    for piece, values in targets.items():
        last = stretches[-1] if stretches else None
        if last and last.name == piece.span.name and last.start + last.values.numel() == piece.span.start:
            joined = values.as_strided((last.values.numel() + values.numel(),), (1,), last.values.storage_offset())
            stretches[-1] = Stretch(last.name, last.start, joined)
        else:
            stretches.append(Stretch(piece.span.name, piece.span.start, values))
    return stretches
