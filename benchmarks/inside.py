"""A rank whose overheads are timed from inside, started by overhead.py: `python -m benchmarks.inside WHAT RECIPE OUT`.

    sums   steps with train.sum=canonical and fast in turns, on all ranks; gradients are not digested in either
    loop   `train run` as it is, and behind each of its steps one of a bare loop on the same model and tokens; the parts
           that digest, write and snapshot are timed as they are called

Writes numbers as JSON. The profile's environment is set by the starter.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from torch import nn

import train.loop as loop
import train.run as run
import train.zero1 as zero1
from core.artifact import current
from core.profile import apply
from data.loader import Loader
from model.init import initialize
from model.transformer import next_token_loss
from train.config import Sum
from train.forward import new_model, run_as_asked
from train.recipe import Recipe, read_recipe
from train.records import Records
from train.runtime import World, open_world
from train.saver import Saver
from train.starter import take_seat
from train.step import Job, take_step

# Digests are then taken in no step.
NEVER = 1 << 30
# What the trainer calls behind each step.
BEAT = "leave_beat"
# Whoever is called for what; a call inside another of the same part is not counted twice.
PARTS: dict[str, list[tuple[Any, str]]] = {
    "digests of gradients": [(zero1, "gradient_root")],
    "digests of batches, ledger lines": [(loop, "ledger_line"), (Records, "add")],
    "journal": [(loop, "_record_step")],
    "snapshots": [(Saver, "begin"), (Saver, "advance")],
}


def sums(recipe: Recipe, out: Path) -> None:
    """Wall and processor seconds of steps, both sums in turns, the order changing each time."""
    apply(recipe.profile)
    seat = take_seat(recipe.train)
    with open_world(seat, device="cpu", timeout_s=recipe.train.timeout_s, is_grouped=False) as world:
        jobs = {order: _job(recipe, order, world) for order in (Sum.CANONICAL, Sum.FAST)}
        taken: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for step in range(1, recipe.train.steps + 1):
            for order in sorted(jobs, key=lambda order: order.value, reverse=step % 2 == 0):
                world.wait()
                wall, cpu = time.perf_counter(), time.process_time()
                take_step(jobs[order], step)
                taken[order.value].append((time.perf_counter() - wall, time.process_time() - cpu))
        every = world.collect(dict(taken))
    if seat.rank == 0:
        found = {
            order: {
                "wall": [wall for wall, _ in every[0][order]],
                "cpu": [sum(cpu for _, cpu in step) for step in zip(*(one[order] for one in every), strict=True)],
            }
            for order in taken
        }
        out.write_text(json.dumps(found), encoding="utf-8")


def _job(recipe: Recipe, order: Sum, world: World) -> Job:
    own = replace(recipe, train=replace(recipe.train, sum=order, grad_digest_every_steps=NEVER))
    pack = current(recipe.run.inputs_folder, "pack").folder
    return loop.prepare(own, world=world, loader=loop.open_loader(own, pack), heldout=None, checkpoint=None)


class Bare:
    """The plainest loop on our own model: autograd adds the micro-batches, torch clips and updates."""

    def __init__(self, recipe: Recipe, loader: Loader) -> None:
        self._loader, self._train = loader, recipe.train
        self._model = new_model(recipe)
        initialize(self._model, seed=1, std=recipe.model.init_std, width_factor=1.0)
        run_as_asked(self._model, recipe)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=recipe.train.lr, betas=(0.9, 0.95), weight_decay=0.1, fused=True
        )

    def step(self, step: int) -> None:
        """One step."""
        tokens = self._loader.shape.samples * self._loader.seq_len
        for index in range(self._train.micro_batches):
            tokens_BT1 = torch.from_numpy(self._loader.batch(step, index))
            loss = next_token_loss(self._model, tokens_BT1, self._loader.bos_id).followed / tokens
            loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), self._train.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        loss.item()


class Clock:
    """Times the trainer's steps from beat to beat, and takes a step of the bare loop in between."""

    def __init__(self, bare: Bare) -> None:
        self._bare, self._began = bare, (0.0, 0.0)
        self.trainer: list[tuple[float, float]] = []
        self.bare: list[tuple[float, float]] = []
        self.parts: list[dict[str, float]] = []
        self._spent: dict[str, float] = defaultdict(float)
        self._inside: set[str] = set()

    def beat(self, step: int) -> None:
        """What the trainer calls behind each of its steps."""
        middle = _now()
        if step > 1:
            self.trainer.append(_since(self._began))
            self.parts.append(dict(self._spent))
        self._spent.clear()
        self._bare.step(step)
        if step > 1:
            self.bare.append(_since(middle))
        self._began = _now()

    def watch(self, part: str, owner: Any, name: str) -> None:
        """Count the time of a function for a part."""
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            if part in self._inside:
                return function(*arguments, **named)
            began = time.perf_counter()
            self._inside.add(part)
            try:
                return function(*arguments, **named)
            finally:
                self._inside.discard(part)
                self._spent[part] += time.perf_counter() - began

        setattr(owner, name, timed)


def whole_loop(recipe: Recipe, out: Path, path: str) -> None:
    """The real verb, with a clock in the place of its beat."""
    apply(recipe.profile)
    loader = loop.open_loader(recipe, current(recipe.run.inputs_folder, "pack").folder)
    clock = Clock(Bare(recipe, loader))
    for part, functions in PARTS.items():
        for owner, name in functions:
            clock.watch(part, owner, name)
    setattr(loop, BEAT, clock.beat)
    run.main([path])
    found = {"trainer": clock.trainer, "bare": clock.bare, "parts": clock.parts}
    out.write_text(json.dumps(found), encoding="utf-8")


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    wall, cpu = _now()
    return wall - began[0], cpu - began[1]


if __name__ == "__main__":
    what, path, out = sys.argv[1:]
    if what == "sums":
        sums(read_recipe(path, []), Path(out))
    else:
        whole_loop(read_recipe(path, []), Path(out), path)
