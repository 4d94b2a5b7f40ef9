"""Placement zero1: all weights on every rank in one flat buffer, a slice of the optimizer state.

A rank computes a contiguous range of micro-batches and keeps one partial sum for every whole subtree in it. Slices of
these are exchanged, every rank adds those of its slice in the canonical order and updates it, and the weights are
gathered (Rajbhandari et al. 2020, arXiv:1910.02054, stage 1; the sum is ours).
"""

from collections.abc import Mapping, Sequence
from functools import partial
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
        self._gradient, self._taken = torch.empty(0), 0
        for name, parameter, size in zip(self._names, self._parameters, sizes, strict=True):
            start = flat[name].storage_offset()
            parameter.register_post_accumulate_grad_hook(partial(self._take, part=slice(start, start + size)))
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
        self._gradient, self._taken = torch.empty_like(self._weights), 0
        loss.backward()  # type: ignore[no-untyped-call]
        assert self._taken == len(self._parameters)
        gradient, self._gradient = self._gradient, torch.empty(0)
        parts = gradient.split_with_sizes([span.count for span in self._whole])
        root = gradient_root(dict(zip(self._names, parts, strict=True))) if is_digested else None
        self._sum.push(micro_step.index, gradient)
        return root

    def _take(self, parameter: Tensor, *, part: slice) -> None:
        """Move a gradient to its place as soon as it is whole: all of them would be another model in memory."""
        self._gradient[part] = cast(Tensor, parameter.grad).reshape(-1)
        parameter.grad = None
        self._taken += 1

    def reduce(self) -> list[Tensor]:
        """See Placed."""
        return list(self._sum.total().split_with_sizes([segment.span.count for segment in self.segments]))

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

    `counts` says how many values of a flat gradient each rank gets. A rank takes a contiguous range of micro-batches.
    """

    def __init__(self, counts: Sequence[int], *, world: World, order: Sum, micro_batches: int) -> None:
        self._counts, self._world = list(counts), world
        self.take_ranges(contiguous_ranges(micro_batches, world.size))
        self._sum: BinaryCounter[Tensor] | RunningSum = (
            BinaryCounter(Tensor.add_) if order is Sum.CANONICAL else RunningSum()
        )

    def take_ranges(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Share out the micro-batches; between steps."""
        self._ranges = list(ranges)
        self.micro_steps = [MicroStep(k, index) for k, index in enumerate(range(*self._ranges[self._world.rank]))]

    def push(self, index: int, gradient: Tensor) -> None:
        """Add the flat gradient of this rank's next micro-batch, which is written over."""
        self._sum.push(index, gradient)

    def total(self) -> Tensor:
        """This rank's slice of the sum; all ranks call it together."""
        if isinstance(self._sum, RunningSum):
            total = self._sum.total()
            self._world.add_floats(total)
            return total.split_with_sizes(self._counts)[self._world.rank]
        if self._world.size == 1:
            return self._sum.total()
        partials = [subtree.value.split_with_sizes(self._counts) for subtree in self._sum.subtrees]
        self._sum.subtrees.clear()
        return add_partials(
            [part for rank in range(self._world.size) for part in (partial[rank] for partial in partials)],
            ranges=self._ranges,
            counts=self._counts,
            world=self._world,
        )


def add_partials(
    partials: Sequence[Tensor], *, ranges: Sequence[tuple[int, int]], counts: Sequence[int], world: World
) -> Tensor:
    """Exchange sums over whole subtrees of the ranks' `ranges` of micro-batches, and add them canonically.

    `partials` are for rank 0, by subtree, then for rank 1; rank r gets `counts[r]` values of each.
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
    """The sum of tensors in the order in which they come, for `train.sum=fast`."""

    def __init__(self) -> None:
        self._total: Tensor | None = None

    def push(self, index: int, value: Tensor) -> None:
        """Add the value of the next index."""
        self._total = value if self._total is None else self._total.add_(value)

    def total(self) -> Tensor:
        """The sum of everything pushed; it is empty afterwards."""
        total, self._total = cast(Tensor, self._total), None
        return total
