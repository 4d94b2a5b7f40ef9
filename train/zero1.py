"""Placement zero1: all weights on every rank in one flat buffer, a slice of the optimizer state.

A rank computes a contiguous range of micro-batches and keeps one partial sum for every whole subtree in it. Slices of
these are exchanged, every rank adds those of its slice in the canonical order and updates it, and the weights are
gathered (Rajbhandari et al. 2020, arXiv:1910.02054, stage 1; the sum is ours).
"""

from collections.abc import Mapping
from itertools import accumulate, chain
from typing import cast

import torch
from torch import Tensor, nn

from model.transformer import Transformer
from train.canonical import BinaryCounter, contiguous_ranges, whole_subtrees
from train.config import Sum
from train.groups import Group
from train.placed import MicroStep, Span, gradient_root, segments_of
from train.runtime import World


class Zero1:
    """All weights on every rank, a slice of the optimizer state."""

    def __init__(
        self, model: Transformer, *, world: World, groups: Mapping[str, Group], order: Sum, micro_batches: int
    ) -> None:
        self.model: nn.Module = model
        self.groups = groups
        self._world = world
        self._names, self._parameters = zip(*model.named_parameters(), strict=True)
        self.shapes: Mapping[str, torch.Size] = {name: parameter.shape for name, parameter in model.named_parameters()}
        self._weights = torch.cat([parameter.detach().reshape(-1) for parameter in self._parameters])
        self._sizes = [parameter.numel() for parameter in self._parameters]
        for parameter, flat in zip(self._parameters, self._weights.split_with_sizes(self._sizes), strict=True):
            parameter.data = flat.view(parameter.shape)
        self._slices = contiguous_ranges(self._weights.numel(), world.size)
        self._counts = [stop - start for start, stop in self._slices]
        self._ranges = contiguous_ranges(micro_batches, world.size)
        self.micro_steps = [MicroStep(k, index) for k, index in enumerate(range(*self._ranges[world.rank]))]
        start, stop = self._slices[world.rank]
        self._own = self._weights[start:stop]
        spans = self.spans(world.rank)
        parts = self._own.split_with_sizes([span.count for span in spans])
        self.segments = segments_of(spans, parts, groups=groups)
        self._sum: BinaryCounter[Tensor] | RunningSum = (
            BinaryCounter(Tensor.add_) if order is Sum.CANONICAL else RunningSum()
        )

    def spans(self, rank: int) -> list[Span]:
        """The parts of parameters that lie in the rank's slice of the flat buffer."""
        first, last = self._slices[rank]
        ends = list(accumulate(self._sizes))
        cuts = [
            Span(name, max(first - (end - size), 0), min(last - (end - size), size))
            for name, size, end in zip(self._names, self._sizes, ends, strict=True)
        ]
        return [span for span in cuts if span.count > 0]

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """See Placed."""
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [cast(Tensor, parameter.grad).reshape(-1) for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.grad = None
        root = gradient_root(dict(zip(self._names, gradients, strict=True))) if is_digested else None
        self._sum.push(micro_step.index, torch.cat(gradients))
        return root

    def reduce(self) -> list[Tensor]:
        """See Placed."""
        if isinstance(self._sum, RunningSum):
            total = self._sum.total()
            self._world.add_floats(total)
            return self._cut(total[slice(*self._slices[self._world.rank])])
        partials = [subtree.value for subtree in self._sum.subtrees]
        self._sum.subtrees.clear()
        whole = [whole_subtrees(*indices) for indices in self._ranges]
        own_count = self._counts[self._world.rank]
        received = self._world.exchange(
            torch.cat([partial[start:stop] for start, stop in self._slices for partial in partials]),
            sent=[count * len(partials) for count in self._counts],
            received=[own_count * len(subtrees) for subtrees in whole],
        )
        counter: BinaryCounter[Tensor] = BinaryCounter(Tensor.add_)
        partials = list(received.view(-1, own_count).unbind())
        for (start, level), partial in zip(chain.from_iterable(whole), partials, strict=True):
            counter.push(start, partial, level=level)
        return self._cut(counter.total())

    def refresh(self) -> None:
        """See Placed."""
        self._world.gather_into(self._weights, self._own, counts=self._counts)

    def _cut(self, own: Tensor) -> list[Tensor]:
        return list(own.split_with_sizes([segment.span.count for segment in self.segments]))


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
