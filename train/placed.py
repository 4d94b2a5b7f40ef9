"""What a placement is to the rest of training: micro-batches to compute, segments to update, state to keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from typing import Protocol

import torch
from torch import Tensor, nn

from core.merkle import chunks, merkle_root, named_root
from train.groups import Group
from train.hashes import leaf_hashes
from train.runtime import World


@dataclass(frozen=True, slots=True)
class Span:
    """Elements start .. stop - 1 of a parameter, flattened."""

    name: str
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Number of elements."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Segment:
    """A span that this rank's optimizer works on; the tensors are one-dimensional, fp32, and written in place."""

    span: Span
    group: Group
    weights: Tensor
    moments: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class MicroStep:
    """One forward and backward of this rank. A dummy keeps the ranks in step; nothing of it is used."""

    number: int
    index: int
    is_dummy: bool = False


class Act(Protocol):
    """The update of a step: changes segments by their gradients, which may be written over.

    All ranks call it together for those of their segments that are Muon's; without any among them on all ranks,
    `has_matrices` is off.
    """

    def __call__(
        self, segments: Sequence[Segment], gradients: Sequence[Tensor], /, *, has_matrices: bool = True
    ) -> None: ...


class Placed(Protocol):
    """A model whose state lies on the ranks in one of the ways of parallel.py.

    `sharers` are the ranks that have shared out the segments among them.
    """

    model: nn.Module
    sharers: World
    groups: Mapping[str, Group]
    shapes: Mapping[str, torch.Size]
    micro_steps: list[MicroStep]
    segments: list[Segment]

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """Compute the gradient of a micro-batch and keep it; returns its root over all parameters if asked."""

    def reduce(self) -> list[Tensor]:
        """The canonical sum of the step's gradients, for every segment of this rank."""

    def step(self, gradients: Sequence[Tensor], act: Act) -> None:
        """Update the segments by what `reduce` gave, and refresh."""

    def drop(self) -> None:
        """Forget what `reduce` gave: the step is left out."""

    def refresh(self) -> None:
        """Bring the segments' weights to where the next forward needs them."""

    def settle(self) -> None:
        """Put away what forwards have left that no backward followed."""

    def spans(self, rank: int) -> list[Span]:
        """What a rank's segments cover, in their order."""


def kept_names(name: str, groups: Mapping[str, Group]) -> list[str]:
    """What is kept of a parameter, in the order of a segment's tensors: NAME, its weights, and MOMENT.NAME."""
    return [name, *(f"{moment}.{name}" for moment in groups[name].moments)]


def snapshot(placed: Placed) -> list[list[Tensor]]:
    """A copy of this rank's weights and moments."""
    return [[tensor.clone() for tensor in (one.weights, *one.moments.values())] for one in placed.segments]


def put_back(placed: Placed, kept: Sequence[Sequence[Tensor]]) -> None:
    """Bring weights and moments back to where they were at a snapshot; all ranks call it together."""
    with torch.no_grad():
        for segment, tensors in zip(placed.segments, kept, strict=True):
            for own, tensor in zip((segment.weights, *segment.moments.values()), tensors, strict=True):
                own.copy_(tensor)
    placed.refresh()


def load_moments(placed: Placed, moments: Mapping[str, Tensor]) -> None:
    """Fill this rank's moments from whole tensors, named as `kept_names` names them."""
    for segment in placed.segments:
        span = segment.span
        for moment, own in segment.moments.items():
            own.copy_(moments[f"{moment}.{span.name}"].reshape(-1)[span.start : span.stop])


def gradient_root(gradients: Mapping[str, Tensor]) -> str:
    """Root over the bytes of a micro-batch's whole gradients by name."""
    return named_root(content_roots(gradients))


def content_roots(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Merkle root over each tensor's bytes; all their chunks are shared out among the threads."""
    cut = {name: chunks(tensor.cpu().numpy().data) for name, tensor in tensors.items()}
    leaves = iter(leaf_hashes(list(chain.from_iterable(cut.values()))))
    return {name: merkle_root(list(islice(leaves, len(own)))) for name, own in cut.items()}


def cut(spans: Sequence[Span], start: int, stop: int) -> list[Span]:
    """What elements start .. stop - 1 of consecutive spans cover; nothing empty."""
    ends = accumulate(span.count for span in spans)
    parts = [
        Span(span.name, span.start + max(start - (end - span.count), 0), span.stop - max(end - stop, 0))
        for span, end in zip(spans, ends, strict=True)
    ]
    return [part for part in parts if part.stop > part.start]


def segments_of(spans: Sequence[Span], weights: Sequence[Tensor], *, groups: Mapping[str, Group]) -> list[Segment]:
    """Segments with moments of zero."""
    return [
        Segment(span, groups[span.name], part, {name: torch.zeros_like(part) for name in groups[span.name].moments})
        for span, part in zip(spans, weights, strict=True)
    ]
