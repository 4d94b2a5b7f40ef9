"""Placements: how weights, gradients and optimizer state lie on the ranks, and how gradients are brought together.

    zero1   all weights on every rank, a slice of the optimizer state (zero1.py).
    fsdp2   a shard of everything on every rank (here, by torch's fully_shard). Micro-batch k W + r is computed on rank
            r in micro-step k; shards of its gradient are sent before they are added to anything, and whoever receives
            them adds them in the order of the index. Any number of ranks works, no alignment is needed.

Both give the same bits, because both add the gradients of the micro-batches in the canonical order (canonical.py) and
everything else is done element by element.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_api import ReduceScatter
from torch.distributed.tensor import DTensor

from core.merkle import named_root
from model.transformer import Transformer
from train.canonical import BinaryCounter
from train.config import Placement, Sum, TrainConfig
from train.groups import Group, groups_of
from train.placed import MicroStep, Placed, Span, content_root, segments_of
from train.runtime import World
from train.zero1 import Zero1


def place(model: Transformer, *, world: World, config: TrainConfig) -> Placed:
    """Lay a model, filled with its weights, out on the ranks."""
    kind = Zero1 if config.placement is Placement.ZERO1 else Fsdp2
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    groups = groups_of(shapes, train=config, model=model.config)
    return kind(model, world=world, groups=groups, order=config.sum, micro_batches=config.micro_batches)


class Fsdp2:
    """A shard of everything on every rank: fully_shard on each block and on what is left."""

    def __init__(
        self, model: Transformer, *, world: World, groups: Mapping[str, Group], order: Sum, micro_batches: int
    ) -> None:
        self.model: nn.Module = model
        self.groups = groups
        self._world, self._is_canonical = world, order is Sum.CANONICAL
        self.shapes: Mapping[str, torch.Size] = {name: parameter.shape for name, parameter in model.named_parameters()}
        units = _units(model)
        mesh = init_device_mesh(world.device, (world.size,))
        for unit, _ in units:
            fully_shard(unit, mesh=mesh)
        self._exchanges = [
            ShardExchange({name: self.shapes[name] for name in names}, world=world, micro_batches=micro_batches)
            for _, names in units
        ]
        for (unit, _), exchange in zip(units, self._exchanges, strict=True):
            _sum_by(cast(FSDPModule, unit), exchange if self._is_canonical else None)
        self._parameters = {name: cast(DTensor, parameter) for name, parameter in model.named_parameters()}
        self._names = [name for _, names in units for name in names]
        self.micro_steps = interleaved(micro_batches, rank=world.rank, world_size=world.size)
        with torch.no_grad():
            local = [self._parameters[name].to_local().view(-1) for name in self._names]
        self.segments = segments_of(self.spans(world.rank), local, groups=groups)

    def spans(self, rank: int) -> list[Span]:
        """Whole rows of every parameter; some may be empty."""
        return [row_span(name, self.shapes[name], rank=rank, world_size=self._world.size) for name in self._names]

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
        if self._world.size == 1:
            self._pass_by_hand()
        # What fully_shard left in .grad is not used: the counters hold the sum.
        for parameter in self._parameters.values():
            parameter.grad = None
        roots = {name: root for exchange in self._exchanges for name, root in exchange.roots.items()}
        return named_root(roots) if is_digested else None

    def reduce(self) -> list[Tensor]:
        """See Placed."""
        if not self._is_canonical:
            gradients = [cast(DTensor, self._parameters[name].grad).to_local().view(-1) for name in self._names]
            for parameter in self._parameters.values():
                parameter.grad = None
            return gradients
        shards = [shard for exchange in self._exchanges for shard in exchange.total()]
        return [shard[: segment.span.count] for shard, segment in zip(shards, self.segments, strict=True)]

    def refresh(self) -> None:
        """Nothing to do: every forward gathers the weights it needs."""

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

    def __init__(self, shapes: Mapping[str, torch.Size], *, world: World, micro_batches: int) -> None:
        self.shapes = shapes
        self.roots: dict[str, bytes] = {}
        self._world, self._micro_batches = world, micro_batches
        self._padded = [-(-shape[0] // world.size) * shape[1:].numel() for shape in shapes.values()]
        self._counter: BinaryCounter[Tensor] = BinaryCounter(Tensor.add_)
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
            self.roots = {name: content_root(gradient) for name, gradient in self._whole(rows).items()}
        size = self._world.size
        count = rows.numel() // size
        received = self._world.exchange(rows, sent=[count] * size, received=[count] * size)
        for rank, row in enumerate(received.view(size, count).unbind()):
            index = self._number * size + rank
            if index < self._micro_batches:
                # A row at an even index lives on in the counter: as a view it would hold all the rows in memory.
                self._counter.push(index, row if index % 2 else row.clone())

    def total(self) -> list[Tensor]:
        """The sum of this rank's shards, one padded tensor a parameter."""
        return list(self._counter.total().split_with_sizes(self._padded))

    def _whole(self, rows: Tensor) -> dict[str, Tensor]:
        parts = [row.split_with_sizes(self._padded) for row in rows.view(self._world.size, -1).unbind()]
        return {
            name: torch.cat([part[position] for part in parts])[: shape.numel()]
            for position, (name, shape) in enumerate(self.shapes.items())
        }


def interleaved(micro_batches: int, *, rank: int, world_size: int) -> list[MicroStep]:
    """Micro-batch k W + r in micro-step k; beyond the last one, the last again as a dummy."""
    numbers = range(-(-micro_batches // world_size))
    indices = [(number, number * world_size + rank) for number in numbers]
    last = micro_batches - 1
    return [MicroStep(number, min(index, last), is_dummy=index > last) for number, index in indices]


def row_span(name: str, shape: torch.Size, *, rank: int, world_size: int) -> Span:
    """A rank's rows of a parameter, as torch.chunk would cut them."""
    rows = -(-shape[0] // world_size)
    width = shape[1:].numel()
    return Span(name, min(rank * rows, shape[0]) * width, min((rank + 1) * rows, shape[0]) * width)


def _units(model: Transformer) -> list[tuple[nn.Module, list[str]]]:
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
