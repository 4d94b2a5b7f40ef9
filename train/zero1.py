"""Placement zero1: all weights on every rank in one flat buffer, a slice of the optimizer state.

A rank computes a contiguous range of micro-batches and keeps one partial sum for every whole subtree in it, in the very
tensors that autograd gave: nothing is copied before it is sent. Slices of the sums are exchanged, every rank adds those
of its slice in the canonical order and updates it, and the weights are gathered (Rajbhandari et al. 2020,
arXiv:1910.02054, stage 1; the sum is ours).
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from model.transformer import Transformer
from train.canonical import BinaryCounter, contiguous_ranges, whole_subtrees
from train.config import Sum
from train.groups import Group
from train.placed import Act, MicroStep, Span, cut, gradient_root, segments_of
from train.runtime import World

# Flat tensors, laid behind each other.
Gradient = Sequence[Tensor]


class Zero1:
    """All weights on every rank, a slice of the optimizer state."""

    def __init__(
        self, model: Transformer, *, world: World, groups: Mapping[str, Group], order: Sum, micro_batches: int
    ) -> None:
        self.model: nn.Module = model
        self.groups = groups
        self.sharers = world
        self._names, self._parameters = zip(*model.named_parameters(), strict=True)
        self.shapes: Mapping[str, torch.Size] = {name: parameter.shape for name, parameter in model.named_parameters()}
        self._weights = torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])
        sizes = [parameter.numel() for parameter in self._parameters]
        flat = dict(zip(self._names, self._weights.split_with_sizes(sizes), strict=True))
        for name, parameter in model.named_parameters():
            parameter.data = flat[name].view(parameter.shape)
        self._whole = [Span(name, 0, size) for name, size in zip(self._names, sizes, strict=True)]
        self._slices = contiguous_ranges(self._weights.numel(), world.size)
        self._sum = SliceSum(
            [stop - start for start, stop in self._slices], world=world, order=order, micro_batches=micro_batches
        )
        self.micro_steps = self._sum.micro_steps
        self._own = self._weights[slice(*self._slices[world.rank])]
        spans = self.spans(world.rank)
        self.segments = segments_of(spans, [flat[span.name][span.start : span.stop] for span in spans], groups=groups)

    def spans(self, rank: int) -> list[Span]:
        """The parts of parameters that lie in the rank's slice of the flat buffer."""
        return cut(self._whole, *self._slices[rank])

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """See Placed."""
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [cast(Tensor, parameter.grad).reshape(-1) for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        root = gradient_root(dict(zip(self._names, gradients, strict=True))) if is_digested else None
        self._sum.push(micro_step.index, gradients)
        return root

    def reduce(self) -> list[Tensor]:
        """See Placed."""
        return joined(shared_out(self._sum.total(), [segment.span.count for segment in self.segments]))

    def step(self, gradients: Sequence[Tensor], act: Act) -> None:
        """See Placed."""
        act(self.segments, gradients)
        self.refresh()

    def drop(self) -> None:
        """Nothing to do."""

    def refresh(self) -> None:
        """See Placed."""
        self.sharers.gather_into(self._weights, self._own, counts=[stop - start for start, stop in self._slices])

    def settle(self) -> None:
        """Nothing to do."""

    def take_ranges(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Have the ranks compute other micro-batches from the next step on (balance.py)."""
        self._sum.take_ranges(ranges)
        self.micro_steps = self._sum.micro_steps


class SliceSum:
    """The sum of a step's gradients, of which every rank gets a slice: sent once, when all micro-batches are done.

    `counts` says how many values of a gradient each rank gets. A rank takes a contiguous range of micro-batches.
    A gradient is flat tensors, laid behind each other.
    """

    def __init__(self, counts: Sequence[int], *, world: World, order: Sum, micro_batches: int) -> None:
        self._counts, self._world = list(counts), world
        self.take_ranges(contiguous_ranges(micro_batches, world.size))
        self._sum: BinaryCounter[Gradient] | RunningSum = (
            BinaryCounter(_add) if order is Sum.CANONICAL else RunningSum()
        )

    def take_ranges(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Share out the micro-batches; between steps."""
        self._ranges = list(ranges)
        self.micro_steps = [MicroStep(k, index) for k, index in enumerate(range(*self._ranges[self._world.rank]))]

    def push(self, index: int, gradient: Gradient) -> None:
        """Add the gradient of this rank's next micro-batch, which is written over."""
        self._sum.push(index, gradient)

    def total(self) -> Gradient:
        """This rank's slice of the sum; all ranks call it together."""
        if self._world.size == 1:
            return self._sum.total()
        if isinstance(self._sum, RunningSum):
            total = torch.cat(list(self._sum.total()))
            self._world.add_floats(total)
            return [total.split_with_sizes(self._counts)[self._world.rank]]
        partials = [shared_out(subtree.value, self._counts) for subtree in self._sum.subtrees]
        self._sum.subtrees.clear()
        parts = [part for rank in range(self._world.size) for partial in partials for part in partial[rank]]
        return [add_partials(parts, ranges=self._ranges, counts=self._counts, world=self._world)]


def shared_out(tensors: Sequence[Tensor], counts: Sequence[int]) -> list[list[Tensor]]:
    """Cut flat tensors, laid behind each other, in parts of so many values; every part is views of tensors."""
    parts, left = [], list(reversed(tensors))
    for count in counts:
        part = [] if count else [tensors[0][:0]]
        while count:
            tensor = left.pop()
            part.append(tensor[:count])
            if tensor.numel() > count:
                left.append(tensor[count:])
            count -= part[-1].numel()
        parts.append(part)
    return parts


def joined(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """One tensor for every part, copied only where it is in several."""
    return [part[0] if len(part) == 1 else torch.cat(list(part)) for part in parts]


def _add(left: Gradient, right: Gradient) -> Gradient:
    for own, other in zip(left, right, strict=True):
        own.add_(other)
    return left


def add_partials(
    partials: Sequence[Tensor], *, ranges: Sequence[tuple[int, int]], counts: Sequence[int], world: World
) -> Tensor:
    """Exchange sums over whole subtrees of the ranks' `ranges` of micro-batches, and add them canonically.

    `partials` are for rank 0, by subtree, then for rank 1, each in one tensor or several; rank r gets `counts[r]`
    values of each.
    """
    whole = [whole_subtrees(*indices) for indices in ranges]
    own_count = counts[world.rank]
    received = world.exchange(
        torch.cat(list(partials)),
        sent=[count * len(whole[world.rank]) for count in counts],
        received=[own_count * len(subtrees) for subtrees in whole],
    )
    counter: BinaryCounter[Tensor] = BinaryCounter(Tensor.add_)
    values = received.view(-1, own_count).unbind() if own_count else [received] * sum(map(len, whole))
    for (start, level), value in zip(chain.from_iterable(whole), values, strict=True):
        counter.push(start, value, level=level)
    return counter.total()


class RunningSum:
    """The sum of gradients in the order in which they come, for `train.sum=fast`."""

    def __init__(self) -> None:
        self._total: Gradient | None = None

    def push(self, index: int, value: Gradient) -> None:
        """Add the gradient of the next index."""
        self._total = value if self._total is None else _add(self._total, value)

    def total(self) -> Gradient:
        """The sum of everything pushed; it is empty afterwards."""
        total, self._total = self._total, None
        assert total is not None
        return total
