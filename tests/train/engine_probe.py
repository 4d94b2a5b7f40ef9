"""A look at gradients inside a placement on DeepSpeed's engine, on one rank."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import torch

from core.artifact import current
from model.transformer import Transformer, next_token_loss
from train.deepspeed_sums import ByUnit
from train.deepspeed_zero import DeepSpeedZero
from train.fsdp2 import units_of
from train.loop import open_loader, prepare
from train.recipe import read_recipe
from train.runtime import open_world
from train.starter import take_seat
from train.step import Job


@contextmanager
def prepared(recipe: str, inputs: str, stage: int, overrides: Sequence[str]) -> Iterator[tuple[Job, DeepSpeedZero]]:
    """The recipe's model on the engine."""
    found = read_recipe(recipe, [f"train.placement=deepspeed{stage}", *overrides])
    with open_world(take_seat(found.train), device="cpu", timeout_s=60, is_grouped=True) as world:
        loader = open_loader(found, current(Path(inputs), "pack").folder)
        job = prepare(found, world=world, loader=loader, checkpoint=None)
        assert isinstance(job.placed, DeepSpeedZero)
        yield job, job.placed


def compute(job: Job, number: int) -> None:
    """Forward and backward of a micro-step."""
    micro_step = job.placed.micro_steps[number]
    tokens_BT1 = torch.from_numpy(job.loader.batch(1, micro_step.index))
    loss = next_token_loss(job.placed.model, tokens_BT1, job.loader.bos_id)
    job.placed.backward(loss.followed, micro_step, is_digested=False)


def most_gradients_held(recipe: str, inputs: str, stage: int) -> tuple[int, int, int]:
    """Elements of gradients held at most while backward runs, of the largest unit, and of the whole model."""
    with prepared(recipe, inputs, stage, ()) as (job, placed):
        model = placed.model.module
        assert isinstance(model, Transformer)
        parameters = dict(model.named_parameters())
        sizes = {name: shape.numel() for name, shape in placed.shapes.items()}
        units = placed._sums._sums if isinstance(placed._sums, ByUnit) else []
        seen: list[int] = []

        def came(gradient: torch.Tensor, name: str) -> None:
            held = {name for name, one in parameters.items() if one.grad is not None}
            seen.append(sum(sizes[one] for one in held.union({name}, *(unit._gradients for unit in units))))

        for name, parameter in parameters.items():
            parameter.register_hook(lambda gradient, name=name: came(gradient, name))  # type: ignore[no-untyped-call]
        compute(job, 0)
        assert len(seen) == len(sizes)
        return max(seen), max(sum(sizes[name] for name in own) for _, own in units_of(model)), sum(sizes.values())


def sums_with_and_without_drop(recipe: str, inputs: str, stage: int, overrides: Sequence[str]) -> tuple[str, str, str]:
    """Hashes of a step's sum, of the same after that was dropped, and of the same when nothing was dropped."""
    hashes = []
    with prepared(recipe, inputs, stage, overrides) as (job, placed):
        for is_dropped in (True, False, False):
            for micro_step in placed.micro_steps:
                compute(job, micro_step.number)
            hashes.append(sha256(b"".join(part.numpy().tobytes() for part in placed.reduce())).hexdigest())
            if is_dropped:
                placed.drop()
    first, again, kept = hashes
    return first, again, kept
