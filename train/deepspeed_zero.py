"""Placements deepspeed1, deepspeed2, deepspeed3: DeepSpeed's engine at a ZeRO stage, with our sum and our rule.

The engine holds the weights and the partitions of optimizer state, on the host if that is offloaded, runs forward and
backward, calls the rule, and gathers weights. What it does not do is add gradients, unless train.sum=fast asks for it
(deepspeed_sums.py): the sums are put into the partitions that it takes for its own averaged gradients.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from model.transformer import Transformer
from train.config import Sum
from train.deepspeed_engine import Engine, PluggedRule
from train.deepspeed_offload import staged
from train.deepspeed_sums import AtOnce, ByUnit, Native, Sums
from train.fsdp2 import interleaved, units_of
from train.groups import Group
from train.placed import Act, MicroStep, Segment, Span
from train.runtime import World


class DeepSpeedZero:
    """Everything in DeepSpeed's hands but the sum and the rule."""

    def __init__(
        self,
        model: Transformer,
        *,
        stage: int,
        is_offloaded: bool,
        world: World,
        groups: Mapping[str, Group],
        order: Sum,
        micro_batches: int,
    ) -> None:
        self.groups, self.sharers = groups, world
        parameters = dict(model.named_parameters())
        self.shapes: Mapping[str, torch.Size] = {name: one.shape for name, one in parameters.items()}
        units = units_of(model)
        kinds = list(dict.fromkeys(groups[name] for name in parameters))
        rule = PluggedRule([[one for name, one in parameters.items() if groups[name] == kind] for kind in kinds])
        self._is_native = order is Sum.FAST
        steps = len(interleaved(range(micro_batches), rank=0, world_size=world.size))
        self._engine = Engine(
            model,
            rule,
            units=[unit for unit, _ in units if unit is not model],
            stage=stage,
            is_offloaded=is_offloaded,
            native_steps=steps if self._is_native else 0,
            world=world,
        )
        self.model: nn.Module = self._engine.module
        # The host's partitions of a GPU's weights.
        self._is_staged = is_offloaded and world.device != "cpu"
        pinned = self._engine.is_pinned
        rule.plug(self._engine.partitions, self._engine.places[world.rank], kinds, is_pinned=pinned)
        self._rule = rule
        self.segments: list[Segment] = list(chain.from_iterable(rule.segments))
        self._sums: Sums
        held = [self.spans(rank) for rank in range(world.size)]
        if self._is_native:
            self._sums = Native(self._engine, world=world, micro_batches=micro_batches)
        elif stage == 1:
            self._sums = AtOnce(self._engine, parameters, held, world=world, micro_batches=micro_batches)
        else:
            names = [own for _, own in units]
            self._sums = ByUnit(self._engine, parameters, held, units=names, world=world, micro_batches=micro_batches)
        self.micro_steps = self._sums.micro_steps

    def spans(self, rank: int) -> list[Span]:
        """What a rank's partitions cover, group by group."""
        return [place.span for place in chain.from_iterable(self._engine.places[rank])]

    def backward(self, loss: Tensor, micro_step: MicroStep, *, is_digested: bool) -> str | None:
        """See Placed."""
        return self._sums.backward(loss, micro_step, is_digested=is_digested)

    def reduce(self) -> list[Tensor]:
        """See Placed."""
        return self._sums.total()

    def step(self, gradients: Sequence[Tensor], act: Act) -> None:
        """Have the engine take its step with these gradients, and `act` as its rule."""
        if not self._is_native:
            self._engine.feed(gradients)
        self._rule.act = staged(act, device=self.sharers.device) if self._is_staged else act
        self._engine.step()

    def drop(self) -> None:
        """See Placed."""
        self._sums.drop()

    def refresh(self) -> None:
        """See Placed."""
        self._engine.refresh()

    def settle(self) -> None:
        """Nothing to do: what the engine gathered ahead for a backward it gives up when the next forward begins."""
