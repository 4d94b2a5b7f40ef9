"""Verb run: find the finished artifact, or train in its unfinished folder and publish it. Free of torch until it must.

Works as one process (`python -m train run RECIPE`) and on every rank of `torchrun -m train run RECIPE`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.artifact import Facts, Plan, build, current, plan
from core.cli import recipe_and_overrides
from core.durable import told_full_disks
from core.errors import ConfigError
from core.kept import kept
from core.profile import apply
from train.needs import check_needs
from train.recipe import Recipe, read_recipe
from train.starter import Seat, take_seat

if TYPE_CHECKING:
    from train.runtime import World

STAGE = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be made, and of what."""

    recipe: Recipe
    pack: Path
    wanted: Plan


def main(arguments: Sequence[str]) -> None:
    """Train; the first rank writes the artifact's folder to standard output."""
    make(read_work(arguments, "python -m train run"))


def read_work(arguments: Sequence[str], usage: str) -> Work:
    """Read the recipe, find what it needs, and set the profile's environment."""
    recipe = read_recipe(*recipe_and_overrides(arguments, usage))
    check_needs(recipe)
    work = work_of(recipe)
    apply(recipe.profile)
    return work


def work_of(recipe: Recipe) -> Work:
    """What a recipe wants made. Raises DataError if the packed tokens are not there."""
    pack = current(recipe.run.inputs_folder, "pack")
    wanted = plan(STAGE, folder="train", out=recipe.run.out_folder, config=recipe.facts, inputs={"pack": pack})
    return Work(recipe=recipe, pack=pack.folder, wanted=wanted)


def make(work: Work) -> None:
    """Train as one rank of those that were started."""
    from train.runtime import open_world  # imports torch, which must find the profile's environment
    from train.vital import begin

    recipe, wanted, config = work.recipe, work.wanted, work.recipe.train
    device = recipe.profile.device.value
    seat = take_seat(config)
    if seat.is_idle:
        tell_idle(seat)
        return
    begin(seat.rank)
    with open_world(seat, device=device, timeout_s=config.timeout_s, is_grouped=config.placement.is_grouped) as world:
        if world.is_first:
            _lead(wanted, recipe=recipe, world=world, pack=work.pack)
        else:
            _follow(wanted, recipe=recipe, world=world, pack=work.pack)


def tell_idle(seat: Seat) -> None:
    """Say that there is no work for this rank: the last one says it for all."""
    if seat.rank == seat.started - 1:
        idle = (
            "1 rank is idle"
            if seat.started - seat.world_size == 1
            else f"{seat.started - seat.world_size} ranks are idle"
        )
        sys.stderr.write(
            f"warning: {seat.started} ranks were started and {idle}: a step has work for {seat.world_size} "
            "(train.micro_batches; with placement hsdp, nodes of the same size)\n"
        )


def _lead(wanted: Plan, *, recipe: Recipe, world: "World", pack: Path) -> None:
    """Decide for all ranks whether there is anything to do, holding the lock on the artifact meanwhile."""
    is_made = False

    def write(aside: Path) -> Facts:
        from train.loop import train

        nonlocal is_made
        is_made = True
        world.share({"key": wanted.key, "is_made": True})
        with told_full_disks(aside):
            return train(recipe, world=world, pack=pack, folder=aside)

    # Under a keeper generations take the place of the lock.
    artifact = build(wanted, write, is_resumable=True, lock_wait_s=recipe.train.lock_wait_s, is_locked=kept() is None)
    if not is_made:
        world.share({"key": wanted.key, "is_made": False})
        sys.stderr.write(f"{artifact.folder.name} is finished already\n")
    sys.stdout.write(f"{artifact.folder}\n")


def _follow(wanted: Plan, *, recipe: Recipe, world: "World", pack: Path) -> None:
    """Do what the first rank decided. Raises ConfigError if this rank was started to make something else."""
    decision = world.share(None)
    if decision["key"] != wanted.key:
        raise ConfigError(
            f"rank {world.rank} was started for artifact {wanted.key[:12]}, rank 0 for {decision['key'][:12]}; "
            "start all ranks with the same recipe, inputs and code"
        )
    if decision["is_made"]:
        from train.loop import train

        with told_full_disks(wanted.aside):
            train(recipe, world=world, pack=pack, folder=wanted.aside)
