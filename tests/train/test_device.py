"""What a run on a GPU needs and a machine without one can show: refusals in words, and which device has what.

torch's fake tensors know their device and compute nothing: with them an operation on two devices is an error here too.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from core.errors import ConfigError
from tests.train.configs import train_config
from tests.train.deepspeed_runs import needs_deepspeed
from tests.train.ranks import call
from train.config import Optimizer
from train.deepspeed_engine import Place, PluggedRule, engine_config, imported, told_gpu
from train.deepspeed_offload import staged
from train.groups import Group
from train.optim import rule_of, update
from train.owners import Owners
from train.placed import Act, Segment, Span
from train.runtime import World, take_gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU to take")
def test_a_rank_without_a_gpu_of_its_own_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"check torch\.device failed, rank 3 of this node has no GPU, torch sees 0"):
        take_gpu(3)


@dataclass
class Layout:
    """What Owners asks of a placement."""

    groups: dict[str, Group]
    shapes: dict[str, torch.Size]
    own: list[Span]

    def spans(self, rank: int) -> list[Span]:
        """All is one rank's."""
        return self.own


SHAPES = {"w": torch.Size([4, 6]), "v": torch.Size([5])}


def host_rule(kind: Optimizer, *, partition: Tensor, device: str) -> tuple[PluggedRule, Act]:
    """DeepSpeed's call of our rule for a partition in which two parameters lie, and the update of AdamW or Muon."""
    group = Group(optimizer=kind, is_decayed=True, rate_factor=1.0)
    names = ["w"] if kind is Optimizer.MUON else list(SHAPES)
    places, at = [], 0
    for name in names:
        places.append(Place(Span(name, 0, SHAPES[name].numel()), at))
        at += SHAPES[name].numel()
    parameter = nn.Parameter(partition)
    rule = PluggedRule([[parameter]])
    rule.plug([parameter], [places], [group])
    layout = Layout(dict.fromkeys(names, group), {name: SHAPES[name] for name in names}, [one.span for one in places])
    owners = Owners(layout, World(rank=0, size=1, device=device))  # type: ignore[arg-type]
    numbers = rule_of(1, train_config(), lr=0.1, scale=0.5, is_sqrt_in_float64=False)
    return rule, partial(update, rule=numbers, owners=owners)


def values(seed: int) -> Tensor:
    """A partition of both parameters."""
    return torch.randn(29, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", [Optimizer.ADAMW, Optimizer.MUON])
def test_offloaded_state_is_updated_on_the_gpu_and_stays_on_the_host(kind: Optimizer) -> None:
    updated = []

    def act(segments: Sequence[Segment], gradients: Sequence[Tensor], /, *, has_matrices: bool = True) -> None:
        for segment, gradient in zip(segments, gradients, strict=True):
            for tensor in (segment.weights, *segment.moments.values()):
                tensor.add_(gradient)
                updated.append(tensor.device.type)

    with FakeTensorMode(allow_non_fake_inputs=True):
        rule, _ = host_rule(kind, partition=torch.zeros(29), device="cuda:0")
        (partition,) = rule.state
        partition.grad = torch.zeros(29)
        rule.act = staged(act, device="cuda:0")
        rule.step()
        held = [*(one.weights for one in rule.segments[0]), *rule.state[partition].values()]
        assert {one.device.type for one in held} == {"cpu"}
        # The control: a gradient of the GPU and state of the host do not meet.
        with pytest.raises(RuntimeError, match="at least two devices"):
            act(rule.segments[0][:1], [torch.zeros(24, device="cuda:0")])
    assert updated == ["cuda"] * len(updated) != []


@pytest.mark.parametrize("kind", [Optimizer.ADAMW, Optimizer.MUON])
def test_what_is_brought_and_brought_back_has_the_bits_of_an_update_in_place(kind: Optimizer) -> None:
    made = {}
    for is_staged in (False, True):
        rule, act = host_rule(kind, partition=values(1), device="cpu")
        (partition,) = rule.state
        for step in (2, 3):
            partition.grad = values(step)
            rule.act = staged(act, device="cpu") if is_staged else act
            rule.step()
        made[is_staged] = [partition.detach().clone(), *rule.state[partition].values()]
    assert all(left.equal(right) for left, right in zip(made[True], made[False], strict=True))
    # The control: something was changed, and not by the gradients alone.
    assert not made[True][0].equal(values(1)) and all(bool(one.any()) for one in made[True])


def test_deepspeed_takes_the_gpu_that_the_rank_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    with told_gpu(0):
        assert os.environ["LOCAL_RANK"] == "0"
    with told_gpu(None):
        assert os.environ["LOCAL_RANK"] == "3"
    assert os.environ["LOCAL_RANK"] == "3"
    assert engine_config(stage=2, is_offloaded=True, native_steps=0, is_pinned=True)["zero_optimization"][
        "offload_optimizer"
    ] == {"device": "cpu", "pin_memory": True}


@needs_deepspeed
def test_another_accelerator_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    with pytest.raises(ConfigError, match=r"DS_ACCELERATOR to cpu, profile\.device is cuda; unset it"):
        imported("cuda")


def imported_for_a_gpu() -> tuple[str, str]:
    """DeepSpeed's accelerator and backend where it is told that there is a GPU."""
    imported("cuda")
    from deepspeed.accelerator import get_accelerator

    found = get_accelerator()
    # None: nothing that it would compile to speak between processes.
    assert found.create_op_builder("ShareMemCommBuilder") is None
    return found.device_name(0), found.communication_backend_name()


@needs_deepspeed
def test_deepspeed_is_imported_for_a_gpu_without_compiling_and_takes_nccl() -> None:
    assert call(imported_for_a_gpu) == ("cuda:0", "nccl")
