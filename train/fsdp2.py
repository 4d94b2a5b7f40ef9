"""Placement fsdp2: a shard of everything on every rank, by torch's fully_shard on each block and on what is left.

Micro-batch k W + r is computed on rank r in micro-step k; shards of its gradient are sent before they are added to
anything, and whoever receives them adds them in the order of the index. Any number of ranks works, no alignment is
needed.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_api import ReduceScatter
from torch.distributed.tensor import DTensor

from core.merkle import named_root
from model.transformer import Transformer
from train.canonical import BinaryCounter, Subtree
from train.config import Sum
from train.groups import Group
from train.placed import Act, MicroStep, Span, content_roots, segments_of
from train.runtime import World


class Fsdp2:
    """A shard of everything on every rank: fully_shard on each block and on what is left."""

    def __init__(
        self,
        model: Transformer,
        *,
        mesh: DeviceMesh,
        world: World,
        groups: Mapping[str, Group],
        order: Sum,
        micro_batches: range,
        is_resharded: bool,
    ) -> None:
        """Shard over `mesh`, of one axis, whose ranks are those of `world` and take the `micro_batches` among them."""
        self.model: nn.Module = model
        self.groups = groups
        self.sharers, self._is_canonical = world, order is Sum.CANONICAL
        self.shapes: Mapping[str, torch.Size] = {name: parameter.shape for name, parameter in model.named_parameters()}
        units = units_of(model)
        for unit, _ in units:
            # None is torch's own choice: yes, but for the outermost unit, whose backward follows its forward at once.
            fully_shard(unit, mesh=mesh, reshard_after_forward=None if is_resharded else False)
        self._exchanges = [
            ShardExchange({name: self.shapes[name] for name in names}, world=world, micro_batches=micro_batches)
            for _, names in units
        ]
        for (unit, _), exchange in zip(units, self._exchanges, strict=True):
            _sum_by(cast(FSDPModule, unit), exchange if self._is_canonical else None)
        self._parameters = {name: cast(DTensor, parameter) for name, parameter in model.named_parameters()}
        self.units = [names for _, names in units]
        self._names = [name for names in self.units for name in names]
        self.micro_steps = interleaved(micro_batches, rank=world.rank, world_size=world.size)
        with torch.no_grad():
            self.local = {name: self._parameters[name].to_local().view(-1) for name in self._names}
        self.segments = segments_of(self.spans(world.rank), list(self.local.values()), groups=groups)

    def spans(self, rank: int) -> list[Span]:
        """Whole rows of every parameter; some may be empty."""
        return [row_span(name, self.shapes[name], rank=rank, world_size=self.sharers.size) for name in self._names]

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """See Placed."""
        if not self._is_canonical:
            # fully_shard adds up the shards of what it reduces; a dummy must add nothing.
            (loss * 0.0 if micro_step.is_dummy else loss).backward()  # type: ignore[no-untyped-call]
            return None
        is_digested = is_digested and not micro_step.is_dummy
        for exchange in self._exchanges:
            exchange.begin(micro_step.number, is_digested=is_digested)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.sharers.size == 1:
            self._pass_by_hand()
        # What fully_shard left in .grad is not used: the counters hold the sum.
        for parameter in self._parameters.values():
            parameter.grad = None
        roots = {name: root for exchange in self._exchanges for name, root in exchange.roots.items()}
        return named_root(roots) if is_digested else None

    def reduce(self) -> list[Tensor]:
        """See Placed."""
        if not self._is_canonical:
            return self.take_gradients()
        return [shard for exchange in self._exchanges for shard in exchange.cut(exchange.counter.total())]

    def take_gradients(self) -> list[Tensor]:
        """With train.sum=fast: the gradients that fully_shard has added up, for every segment."""
        gradients = [cast(DTensor, self._parameters[name].grad).to_local().view(-1) for name in self._names]
        for parameter in self._parameters.values():
            parameter.grad = None
        return gradients

    def take_partials(self) -> list[list[Subtree[list[Tensor]]]]:
        """What stands in the counters, a list a unit: sums over whole subtrees, for every segment of the unit."""
        return [exchange.take_partials() for exchange in self._exchanges]

    def step(self, gradients: Sequence[Tensor], act: Act) -> None:
        """See Placed."""
        act(self.segments, gradients)

    def drop(self) -> None:
        """Nothing to do."""

    def refresh(self) -> None:
        """Nothing to do: every forward gathers the weights it needs."""

    def settle(self) -> None:
        """See Placed: weights that stayed gathered, and the order of forwards that backward would prefetch by."""
        cast(FSDPModule, self.model).reset_iter_state()

    def _pass_by_hand(self) -> None:
        """With one rank fully_shard reduces nothing and calls no hook: hand the gradients over here."""
        for exchange in self._exchanges:
            names = exchange.shapes
            gradients = [cast(DTensor, self._parameters[name].grad).to_local().reshape(-1) for name in names]
            exchange.take(torch.cat(gradients))


class ShardExchange(ReduceScatter):
    """What fully_shard calls instead of a reduce-scatter, for the parameters of one unit.

    It is given this rank's gradients, cut in one row a rank; every parameter's rows are padded to the same number.
    The rows are sent unsummed, and added to what this rank holds in the order of the micro-batches.
    """

    def __init__(self, shapes: Mapping[str, torch.Size], *, world: World, micro_batches: range) -> None:
        self.shapes = shapes
        self.roots: dict[str, bytes] = {}
        self.counter: BinaryCounter[Tensor] = BinaryCounter(Tensor.add_)
        self._world, self._micro_batches = world, micro_batches
        spans = [row_span(name, shape, rank=world.rank, world_size=world.size) for name, shape in shapes.items()]
        self._counts = [span.count for span in spans]
        self._padded = [-(-shape[0] // world.size) * shape[1:].numel() for shape in shapes.values()]
        self._number, self._is_digested = 0, False

    def allocate(self, size: Sequence[int | torch.SymInt], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Fresh memory: nothing is pooled, so nothing that is still held can be written over."""
        return torch.empty(tuple(size), dtype=dtype, device=device)

    def begin(self, number: int, *, is_digested: bool) -> None:
        """Say which micro-step comes."""
        self._number, self._is_digested, self.roots = number, is_digested, {}

    def __call__(
        self,
        output_tensor: Tensor,
        input_tensor: Tensor,
        group: dist.ProcessGroup,
        op: dist.ReduceOp | dist.ReduceOp.RedOpType,
        async_op: bool = False,
    ) -> None:
        """Exchange a micro-step's gradients. `output_tensor` becomes .grad, which nobody reads."""
        assert op == dist.ReduceOp.SUM and not async_op
        self.take(input_tensor)
        output_tensor.zero_()

    def take(self, rows: Tensor) -> None:
        """Exchange the rows of all ranks' gradients of a micro-step and add what came."""
        if self._is_digested:
            self.roots = content_roots(self._whole(rows))
        size = self._world.size
        count = rows.numel() // size
        received = self._world.exchange(rows, sent=[count] * size, received=[count] * size)
        push_arrived(self.counter, received.view(size, count).unbind(), self._micro_batches[self._number * size :])

    def take_partials(self) -> list[Subtree[list[Tensor]]]:
        """Empty the counter: its sums over whole subtrees."""
        taken = [Subtree(one.start, one.level, self.cut(one.value)) for one in self.counter.subtrees]
        self.counter.subtrees.clear()
        return taken

    def cut(self, shards: Tensor) -> list[Tensor]:
        """This rank's shards, a tensor a parameter, without what pads them."""
        parts = shards.split_with_sizes(self._padded)
        return [part[:count] for part, count in zip(parts, self._counts, strict=True)]

    def _whole(self, rows: Tensor) -> dict[str, Tensor]:
        parts = [row.split_with_sizes(self._padded) for row in rows.view(self._world.size, -1).unbind()]
        return {
            name: torch.cat([part[position] for part in parts])[: shape.numel()]
            for position, (name, shape) in enumerate(self.shapes.items())
        }


def push_arrived(counter: BinaryCounter[Tensor], arrived: Sequence[Tensor], indices: Sequence[int]) -> None:
    """Add what came from the ranks, in their order, of the micro-batches `indices`; more than those are dummies'."""
    for index, row in zip(indices, arrived, strict=False):
        # A row that stays in the counter as a view would hold all that came in memory.
        stays = index % 2 == 0 or not counter.subtrees
        counter.push(index, row.clone() if stays else row)


def interleaved(micro_batches: range, *, rank: int, world_size: int) -> list[MicroStep]:
    """Of `micro_batches`, the (k W + r)th in micro-step k; beyond the last one, the last again as a dummy."""
    numbers = range(-(-len(micro_batches) // world_size))
    places = [(number, number * world_size + rank) for number in numbers]
    last = len(micro_batches) - 1
    return [MicroStep(number, micro_batches[min(place, last)], is_dummy=place > last) for number, place in places]


def row_span(name: str, shape: torch.Size, *, rank: int, world_size: int) -> Span:
    """A rank's rows of a parameter, as torch.chunk would cut them."""
    rows = -(-shape[0] // world_size)
    width = shape[1:].numel()
    return Span(name, min(rank * rows, shape[0]) * width, min((rank + 1) * rows, shape[0]) * width)


def units_of(model: Transformer) -> list[tuple[nn.Module, list[str]]]:
    """What is sharded together, with the names of its parameters in fully_shard's order: blocks, then the rest."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    blocks = [(block, [names[parameter] for parameter in block.parameters()]) for block in model.blocks]
    in_blocks = {name for _, owned in blocks for name in owned}
    return [*blocks, (model, [name for name in names.values() if name not in in_blocks])]


def _sum_by(unit: FSDPModule, exchange: ShardExchange | None) -> None:
    """Have a unit's gradients summed, never averaged, by our exchange or else by the backend."""
    unit.set_gradient_divide_factor(1.0)
    unit.set_force_sum_reduction_for_comms(True)
    if exchange:
        unit.set_custom_reduce_scatter(exchange)
