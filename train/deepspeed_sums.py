"""How gradients are added for DeepSpeed's engine: by us at once a step, by us unit by unit, or by the engine itself.

    AtOnce   stage 1: sums over whole subtrees of this rank's micro-batches, sent once a step (zero1.py)
    ByUnit   stages 2 and 3: a unit's gradient (a block's, or what is left) is sent as soon as backward has made it,
             unsummed, to the ranks whose partitions it is for, and given up; they add in the order of the index
    Native   train.sum=fast: as the engine does, in an order that depends on the stage and on the number of ranks

So a rank holds no more of gradients than with DeepSpeed's own reduction, but for the sums that stage 1 holds back: at
most one a level of the tree, as with zero1.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from core.merkle import named_root
from train.canonical import BinaryCounter
from train.config import Sum
from train.deepspeed_engine import Engine
from train.fsdp2 import interleaved, push_arrived
from train.placed import MicroStep, Span, content_roots, gradient_root
from train.runtime import World
from train.zero1 import SliceSum, joined, shared_out

Held = Sequence[Sequence[Span]]


class Sums(Protocol):
    """One of the three."""

    micro_steps: list[MicroStep]

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """See Placed."""

    def total(self) -> list[Tensor]:
        """The step's sum, for every span of this rank; all ranks call it together."""

    def drop(self) -> None:
        """Forget it."""


class AtOnce:
    """For stage 1. `held` says what each rank's partitions cover."""

    def __init__(
        self, engine: Engine, parameters: Mapping[str, nn.Parameter], held: Held, *, world: World, micro_batches: int
    ) -> None:
        self._engine, self._parameters, self._held = engine, parameters, held
        counts = [sum(span.count for span in spans) for spans in held]
        self._own = [span.count for span in held[world.rank]]
        self._sum = SliceSum(counts, world=world, order=Sum.CANONICAL, micro_batches=micro_batches)
        self.micro_steps = self._sum.micro_steps

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """See Placed."""
        self._engine.backward(loss, scale_wrt_gas=False)
        gradients = {name: cast(Tensor, one.grad).reshape(-1) for name, one in self._parameters.items()}
        for parameter in self._parameters.values():
            parameter.grad = None
        root = gradient_root(gradients) if is_digested else None
        spans = chain.from_iterable(self._held)
        self._sum.push(micro_step.index, [gradients[span.name][span.start : span.stop] for span in spans])
        return root

    def total(self) -> list[Tensor]:
        """See Sums."""
        return joined(shared_out(self._sum.total(), self._own))

    def drop(self) -> None:
        """Nothing to do."""


class ByUnit:
    """For stages 2 and 3: one UnitSum for each of `units`, which are names of parameters."""

    def __init__(
        self,
        engine: Engine,
        parameters: Mapping[str, nn.Parameter],
        held: Held,
        *,
        units: Sequence[Sequence[str]],
        world: World,
        micro_batches: int,
    ) -> None:
        self._engine, self._own = engine, held[world.rank]
        self._sums = [UnitSum(unit, held, world=world, micro_batches=micro_batches) for unit in units]
        for one, unit in zip(self._sums, units, strict=True):
            for name in unit:
                # Behind DeepSpeed's own hooks, which leave the gradient alone (deepspeed_engine.py).
                hook = partial(one.take, name)
                parameters[name].register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]
        self.micro_steps = interleaved(range(micro_batches), rank=world.rank, world_size=world.size)

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """See Placed."""
        is_digested = is_digested and not micro_step.is_dummy
        for one in self._sums:
            one.begin(micro_step.number, is_digested=is_digested)
        self._engine.backward(loss, scale_wrt_gas=False)
        roots = {name: root for one in self._sums for name, root in one.roots.items()}
        return named_root(roots) if is_digested else None

    def total(self) -> list[Tensor]:
        """See Sums."""
        sums = {span: part for one in self._sums for span, part in one.total().items()}
        return [sums[span] for span in self._own]

    def drop(self) -> None:
        """Nothing to do."""


class UnitSum:
    """The sum of a unit's gradients, of which every rank gets what its partitions cover."""

    def __init__(self, names: Sequence[str], held: Held, *, world: World, micro_batches: int) -> None:
        self.roots: dict[str, bytes] = {}
        self._names, self._world, self._micro_batches = frozenset(names), world, range(micro_batches)
        self._spans = [[span for span in spans if span.name in self._names] for spans in held]
        self._counts = [sum(span.count for span in spans) for spans in self._spans]
        self._counter: BinaryCounter[Tensor] = BinaryCounter(Tensor.add_)
        self._gradients: dict[str, Tensor] = {}
        self._number, self._is_digested = 0, False

    def begin(self, number: int, *, is_digested: bool) -> None:
        """Say which micro-step comes."""
        self._number, self._is_digested, self.roots = number, is_digested, {}

    def take(self, name: str, parameter: Tensor) -> None:
        """Take a parameter's gradient; the unit's last one sets off the exchange."""
        self._gradients[name] = cast(Tensor, parameter.grad).reshape(-1)
        parameter.grad = None
        if len(self._gradients) == len(self._names):
            self._exchange()
            self._gradients.clear()

    def total(self) -> dict[Span, Tensor]:
        """The sum for every span of this rank."""
        spans = self._spans[self._world.rank]
        parts = self._counter.total().split_with_sizes([span.count for span in spans])
        return dict(zip(spans, parts, strict=True))

    def _exchange(self) -> None:
        if self._is_digested:
            self.roots = content_roots(self._gradients)
        size, own = self._world.size, self._counts[self._world.rank]
        sent = [self._gradients[span.name][span.start : span.stop] for spans in self._spans for span in spans]
        received = self._world.exchange(torch.cat(sent), sent=self._counts, received=[own] * size)
        push_arrived(self._counter, received.view(size, own).unbind(), self._micro_batches[self._number * size :])


class Native:
    """The engine's own reduction, which divides by the number of ranks."""

    def __init__(self, engine: Engine, *, world: World, micro_batches: int) -> None:
        self._engine, self._ranks = engine, world.size
        self.micro_steps = interleaved(range(micro_batches), rank=world.rank, world_size=world.size)

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """See Placed. A dummy adds nothing."""
        self._engine.set_gradient_accumulation_boundary(micro_step.number == len(self.micro_steps) - 1)
        factor = 0.0 if micro_step.is_dummy else float(self._ranks)
        self._engine.backward(loss * factor, scale_wrt_gas=False)
        return None

    def total(self) -> list[Tensor]:
        """See Sums."""
        return self._engine.averaged()

    def drop(self) -> None:
        """See Sums."""
        self._engine.forget()
