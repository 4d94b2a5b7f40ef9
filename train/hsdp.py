"""Placement hsdp: weights in shards inside a node (fsdp2.py), the same shards on every node; state shared out by all.

A node takes a contiguous range of micro-batches. Inside it, unsummed shards are exchanged as with fsdp2, so that the
fast links of a node carry every micro-batch's gradient. Once a step the sums over whole subtrees go across nodes, among
the ranks that hold the same shard (a rail): each gets a slice of the shard, adds the nodes' sums canonically and
updates the slice, and the slices are gathered on the rail. That is a ring's traffic between nodes where the nodes'
ranges are aligned subtrees, and up to log2 of the range times as much where they are not; the bits are the same.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from model.transformer import Transformer
from train.canonical import contiguous_ranges
from train.config import Sum
from train.fsdp2 import Fsdp2, row_span
from train.groups import Group
from train.placed import Act, MicroStep, Span, cut, segments_of
from train.runtime import World
from train.zero1 import add_partials

NODE, RANK = "node", "rank"


class Hsdp:
    """Shards inside nodes, slices of shards across them."""

    def __init__(
        self,
        model: Transformer,
        *,
        world: World,
        groups: Mapping[str, Group],
        order: Sum,
        micro_batches: int,
        is_resharded: bool,
    ) -> None:
        self.groups, self.sharers = groups, world
        nodes = world.size // world.node_ranks
        mesh = init_device_mesh(world.device, (nodes, world.node_ranks), mesh_dim_names=(NODE, RANK))
        self._inside, self._rail = (
            World(rank=mesh.get_local_rank(axis), size=size, device=world.device, group=mesh.get_group(axis))
            for axis, size in ((RANK, world.node_ranks), (NODE, nodes))
        )
        self._is_canonical = order is Sum.CANONICAL
        self._ranges = contiguous_ranges(micro_batches, nodes)
        self._node = Fsdp2(
            model,
            mesh=mesh[RANK],
            world=self._inside,
            groups=groups,
            order=order,
            micro_batches=range(*self._ranges[self._rail.rank]),
            is_resharded=is_resharded,
        )
        # Its moments of whole shards: a rank updates slices of them.
        self._node.segments.clear()
        self.model: nn.Module = model
        self.shapes: Mapping[str, torch.Size] = self._node.shapes
        self.micro_steps = self._node.micro_steps
        spans = self.spans(world.rank)
        self.segments = segments_of(spans, [self._local(span) for span in spans], groups=groups)

    def spans(self, rank: int) -> list[Span]:
        """A slice, one a node, of what the rank's shards of every unit have behind each other."""
        node, inside = divmod(rank, self._inside.size)
        units = (self._shards(names, inside) for names in self._node.units)
        return [span for shards in units for span in cut(shards, *self._slices(shards)[node])]

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """See Placed."""
        return self._node.backward(loss, micro_step, is_digested=is_digested)

    def reduce(self) -> list[Tensor]:
        """See Placed."""
        slices = self._add_fast() if not self._is_canonical else self._add_canonically()
        counts = [segment.span.count for segment in self.segments]
        return list(torch.cat(slices).split_with_sizes(counts))

    def step(self, gradients: Sequence[Tensor], act: Act) -> None:
        """See Placed."""
        act(self.segments, gradients)
        self.refresh()

    def drop(self) -> None:
        """Nothing to do."""

    def refresh(self) -> None:
        """Gather the slices of this rank's shards on its rail, unit by unit."""
        if self._rail.size == 1:
            return
        with torch.no_grad():
            for names in self._node.units:
                shards = self._shards(names, self._inside.rank)
                slices = self._slices(shards)
                own = [self._local(span) for span in cut(shards, *slices[self._rail.rank])]
                nothing = torch.empty(0, device=self._rail.device)
                whole = torch.empty(sum(span.count for span in shards), device=self._rail.device)
                counts = [stop - start for start, stop in slices]
                self._rail.gather_into(whole, torch.cat(own) if own else nothing, counts=counts)
                for span, values in zip(shards, whole.split_with_sizes([span.count for span in shards]), strict=True):
                    self._node.local[span.name].copy_(values)

    def settle(self) -> None:
        """See Placed."""
        self._node.settle()

    def _add_canonically(self) -> list[Tensor]:
        """This rank's slice of every unit, added over the nodes."""
        added = []
        for names, partials in zip(self._node.units, self._node.take_partials(), strict=True):
            slices = self._slices(self._shards(names, self._inside.rank))
            counts = [stop - start for start, stop in slices]
            parts = [torch.cat(partial.value).split_with_sizes(counts) for partial in partials]
            sent = [part[node] for node in range(self._rail.size) for part in parts]
            added.append(add_partials(sent, ranges=self._ranges, counts=counts, world=self._rail))
        return added

    def _add_fast(self) -> list[Tensor]:
        gradients = dict(zip(chain.from_iterable(self._node.units), self._node.take_gradients(), strict=True))
        added = []
        for names in self._node.units:
            whole = torch.cat([gradients[name] for name in names])
            self._rail.add_floats(whole)
            added.append(whole[slice(*self._slices(self._shards(names, self._inside.rank))[self._rail.rank])])
        return added

    def _shards(self, names: Sequence[str], inside: int) -> list[Span]:
        """What the rank at place `inside` of any node holds of parameters."""
        return [row_span(name, self.shapes[name], rank=inside, world_size=self._inside.size) for name in names]

    def _slices(self, shards: Sequence[Span]) -> list[tuple[int, int]]:
        return contiguous_ranges(sum(span.count for span in shards), self._rail.size)

    def _local(self, span: Span) -> Tensor:
        """The weights of a span of this rank's shard."""
        shard = row_span(span.name, self.shapes[span.name], rank=self._inside.rank, world_size=self._inside.size)
        return self._node.local[span.name][span.start - shard.start : span.stop - shard.start]
