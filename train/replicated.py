"""Placement replicated: all weights and all optimizer state on every rank, and the whole update too.

What DistributedDataParallel does, plainly: gradients are added as with zero1, and the slices of the sum are gathered.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from model.transformer import Transformer
from train.config import Sum
from train.groups import Group
from train.placed import Span
from train.runtime import World
from train.zero1 import Zero1


class Replicated(Zero1):
    """Everything on every rank: nothing is shared out, so each rank is alone with its segments."""

    def __init__(
        self, model: Transformer, *, world: World, groups: Mapping[str, Group], order: Sum, micro_batches: int
    ) -> None:
        super().__init__(model, world=world, groups=groups, order=order, micro_batches=micro_batches)
        self._world, self.sharers = world, world.alone

    def spans(self, rank: int) -> list[Span]:
        """Everything."""
        return self._whole

    def reduce(self) -> list[Tensor]:
        """See Placed."""
        own = self._sum.total()
        if self._world.size == 1:
            return list(own)
        whole = torch.empty_like(self._weights)
        self._world.gather_into(whole, own[0], counts=[stop - start for start, stop in self._slices])
        return list(whole.split_with_sizes([span.count for span in self._whole]))

    def refresh(self) -> None:
        """Nothing to do: every rank has updated all weights."""
