"""Placements: how weights, gradients and optimizer state lie on the ranks, and how gradients are brought together.

Both give the same bits, because both add the gradients of the micro-batches in the canonical order (canonical.py) and
everything else is done element by element:

    zero1   all weights on every rank, in one flat buffer. A rank computes a contiguous range of micro-batches, keeps
            one partial sum for every whole subtree in it, and sends slices of these; it updates its slice, and the
            weights are gathered (Rajbhandari et al. 2020, arXiv:1910.02054, stage 1).
    fsdp2   a shard of everything on every rank (torch's fully_shard). Micro-batch k W + r is computed on rank r in
            micro-step k; shards of its gradient are sent before they are added to anything, and whoever receives
            them adds them in the order of the index. Any number of ranks works, no alignment is needed.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Protocol, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_api import ReduceScatter
from torch.distributed.tensor import DTensor

from core.errors import ConfigError
from core.merkle import chunk_root, named_root
from model.transformer import Transformer
from train.canonical import BinaryCounter, contiguous_ranges, whole_subtrees
from train.config import Placement, Sum
from train.runtime import World

MOMENTS = ("exp_avg", "exp_avg_sq")


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
    """A span that this rank's optimizer works on; the tensors are one-dimensional, fp32, and written in place.

    Matrices are decayed, norms are not.
    """

    span: Span
    is_decayed: bool
    weights: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor


@dataclass(frozen=True, slots=True)
class MicroStep:
    """One forward and backward of this rank. A dummy keeps the ranks in step; nothing of it is used."""

    number: int
    index: int
    is_dummy: bool = False


class Placed(Protocol):
    """A model whose state lies on the ranks in one of the ways above."""

    model: nn.Module
    micro_steps: list[MicroStep]
    segments: list[Segment]

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """Compute the gradient of a micro-batch and keep it; returns its root over all parameters if asked."""

    def reduce(self) -> list[Tensor]:
        """The canonical sum of the step's gradients, for every segment of this rank."""

    def refresh(self) -> None:
        """Bring the updated weights to where the next forward needs them."""

    def spans(self, rank: int) -> list[Span]:
        """What a rank's segments cover, in their order."""


def place(model: Transformer, *, world: World, how: Placement, order: Sum, micro_batches: int) -> Placed:
    """Lay a model, filled with its weights, out on the ranks. Raises ConfigError for more ranks than micro-batches."""
    if world.size > micro_batches:
        raise ConfigError(
            f"{world.size} ranks, but a step has only train.micro_batches = {micro_batches}; start at most that many"
        )
    kind = Zero1 if how is Placement.ZERO1 else Fsdp2
    return kind(model, world=world, order=order, micro_batches=micro_batches)


def gather(placed: Placed, world: World) -> dict[str, Tensor] | None:
    """Weights by name, moments as `exp_avg.NAME` and `exp_avg_sq.NAME`, whole, on the first rank; None elsewhere."""
    kinds = [[getattr(segment, kind) for segment in placed.segments] for kind in ("weights", *MOMENTS)]
    part = torch.cat([tensor for tensors in kinds for tensor in tensors])
    spans = [placed.spans(rank) for rank in range(world.size)]
    whole = world.gather_to_first(part, counts=[3 * sum(span.count for span in own) for own in spans])
    if whole is None:
        return None
    names = [(f"{prefix}{span.name}", span) for own in spans for prefix in ("", *_prefixes()) for span in own]
    pieces = whole.split_with_sizes([span.count for _, span in names])
    joined: dict[str, list[Tensor]] = {}
    for (name, _), piece in zip(names, pieces, strict=True):
        joined.setdefault(name, []).append(piece)
    shapes = {name: parameter.shape for name, parameter in placed.model.named_parameters()}
    shapes |= {f"{prefix}{name}": shape for prefix in _prefixes() for name, shape in shapes.items()}
    return {name: torch.cat(joined[name]).view(shape) for name, shape in shapes.items()}


def load_moments(placed: Placed, moments: Mapping[str, Tensor]) -> None:
    """Fill this rank's moments from whole tensors, named as `gather` names them."""
    for segment in placed.segments:
        span = segment.span
        for kind in MOMENTS:
            whole = moments[f"{kind}.{span.name}"].reshape(-1)
            getattr(segment, kind).copy_(whole[span.start : span.stop])


class Zero1:
    """All weights on every rank, a slice of the optimizer state."""

    def __init__(self, model: Transformer, *, world: World, order: Sum, micro_batches: int) -> None:
        self.model: nn.Module = model
        self._world = world
        self._names, self._parameters = zip(*model.named_parameters(), strict=True)
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
        matrices = {name for name, parameter in model.named_parameters() if parameter.dim() > 1}
        self.segments = _segments(spans, parts, matrices=matrices)
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


class Fsdp2:
    """A shard of everything on every rank: fully_shard on each block and on what is left."""

    def __init__(self, model: Transformer, *, world: World, order: Sum, micro_batches: int) -> None:
        self.model: nn.Module = model
        self._world, self._is_canonical = world, order is Sum.CANONICAL
        self._shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
        units = _units(model)
        mesh = init_device_mesh(world.device, (world.size,))
        for unit, _ in units:
            fully_shard(unit, mesh=mesh)
        self._exchanges = [
            ShardExchange({name: self._shapes[name] for name in names}, world=world, micro_batches=micro_batches)
            for _, names in units
        ]
        for (unit, _), exchange in zip(units, self._exchanges, strict=True):
            _sum_by(cast(FSDPModule, unit), exchange if self._is_canonical else None)
        self._parameters = {name: cast(DTensor, parameter) for name, parameter in model.named_parameters()}
        self._names = [name for _, names in units for name in names]
        numbers = range(-(-micro_batches // world.size))
        indices = [(number, number * world.size + world.rank) for number in numbers]
        self.micro_steps = [
            MicroStep(number, min(index, micro_batches - 1), is_dummy=index >= micro_batches)
            for number, index in indices
        ]
        with torch.no_grad():
            local = [self._parameters[name].to_local().view(-1) for name in self._names]
        spans = self.spans(world.rank)
        self.segments = _segments(
            spans, local, matrices={name for name, shape in self._shapes.items() if len(shape) > 1}
        )

    def spans(self, rank: int) -> list[Span]:
        """Whole rows of every parameter, as torch.chunk would cut them; some may be empty."""
        return [_row_span(name, self._shapes[name], rank=rank, world_size=self._world.size) for name in self._names]

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
            self.roots = {name: _content_root(gradient) for name, gradient in self._whole(rows).items()}
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


def gradient_root(gradients: Mapping[str, Tensor]) -> str:
    """Root over the bytes of a micro-batch's whole gradients by name."""
    return named_root({name: _content_root(gradient) for name, gradient in gradients.items()})


def _content_root(tensor: Tensor) -> bytes:
    return chunk_root(tensor.numpy().data)


def _prefixes() -> tuple[str, ...]:
    return tuple(f"{kind}." for kind in MOMENTS)


def _segments(spans: Sequence[Span], weights: Sequence[Tensor], *, matrices: Set[str]) -> list[Segment]:
    return [
        Segment(span, span.name in matrices, part, torch.zeros_like(part), torch.zeros_like(part))
        for span, part in zip(spans, weights, strict=True)
    ]


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


def _row_span(name: str, shape: torch.Size, *, rank: int, world_size: int) -> Span:
    rows = -(-shape[0] // world_size)
    width = shape[1:].numel()
    return Span(name, min(rank * rows, shape[0]) * width, min((rank + 1) * rows, shape[0]) * width)
