"""Verb run: find the finished artifact, or train in its unfinished folder and publish it. Free of torch until it must.

Works as one process (`python -m train run RECIPE`) and on every rank of `torchrun -m train run RECIPE`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.artifact import Facts, Plan, build, current, plan
from core.cli import recipe_and_overrides
from core.errors import ConfigError
from core.profile import apply
from train.recipe import Recipe, read_recipe
from train.starter import Seat, take_seat

if TYPE_CHECKING:
    from train.runtime import World

STAGE = "train"


def main(arguments: Sequence[str]) -> None:
    """Train; the first rank writes the artifact's folder to standard output."""
    recipe = read_recipe(*recipe_and_overrides(arguments, "python -m train run"))
    pack = current(recipe.run.inputs_folder, "pack")
    wanted = plan(STAGE, folder="train", out=recipe.run.out_folder, config=recipe.facts, inputs={"pack": pack})
    apply(recipe.profile)
    from train.runtime import open_world  # imports torch, which must find the profile's environment

    config, device = recipe.train, recipe.profile.device.value
    seat = take_seat(config)
    if seat.is_idle:
        tell_idle(seat)
        return
    with open_world(seat, device=device, timeout_s=config.timeout_s, is_grouped=config.placement.is_grouped) as world:
        if world.is_first:
            _lead(wanted, recipe=recipe, world=world, pack=pack.folder)
        else:
            _follow(wanted, recipe=recipe, world=world, pack=pack.folder)


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
        from train.reserve import told_full_disks

        nonlocal is_made
        is_made = True
        world.share({"key": wanted.key, "is_made": True})
        with told_full_disks(aside):
            return train(recipe, world=world, pack=pack, folder=aside)

    artifact = build(wanted, write, is_resumable=True, lock_wait_s=recipe.train.lock_wait_s)
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

        train(recipe, world=world, pack=pack, folder=wanted.aside)
