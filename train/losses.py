"""Verb losses: what states of a run give on the batch that came next, by forward passes alone.

Such a loss is the ledger's of the next step, to the bit under the same numerics profile: the forward is that of
training, graph and all, and the micro-batches' losses are added by the same tree. So a checkpoint that training did not
pass through, or initial weights that are not the seed's, show without training anything. One process will do, whatever
the run was made with.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from core.cli import recipe_and_overrides
from core.errors import ConfigError
from core.profile import apply
from core.progress import Progress
from train.recipe import Recipe, read_recipe
from train.replay import INIT

USAGE = "python -m train losses"


def main(arguments: Sequence[str]) -> None:
    """`RECIPE --pack DIR --start CHECKPOINT_DIR|init [--start ...] [key=value ...]`; one line of JSON a state: the next
    step, and its loss as a hex float."""
    rest, packs, starts = parse(arguments)
    recipe = read_recipe(*recipe_and_overrides(rest, USAGE))
    apply(recipe.profile)
    progress = Progress("forward passes", total=len(starts), unit="states")
    for start in starts:
        step, loss = next_loss(recipe, packs[-1], None if start == INIT else Path(start))
        sys.stdout.write(f"{json.dumps({'step': step, 'loss': loss.hex()})}\n")
        progress.advance()


def parse(arguments: Sequence[str]) -> tuple[list[str], list[Path], list[str]]:
    """The other arguments, the packs and the states. Raises ConfigError if one of both is missing."""
    rest: list[str] = []
    packs: list[Path] = []
    starts: list[str] = []
    iterator = iter(arguments)
    for argument in iterator:
        if argument == "--pack":
            packs.append(Path(next(iterator, "")))
        elif argument == "--start":
            starts.append(next(iterator, ""))
        else:
            rest.append(argument)
    if not packs or not all(starts) or not starts:
        raise ConfigError(f"{USAGE} needs --pack and --start; usage: {main.__doc__}")
    return rest, packs, starts


def next_loss(recipe: Recipe, pack: Path, checkpoint: Path | None) -> tuple[int, float]:
    """The step behind a state, and its loss. Raises DataError if the checkpoint or the tokens are damaged."""
    from train.audit import alone
    from train.loop import open_loader, prepare
    from train.runtime import World
    from train.step import forward_loss
    from train.store import open_checkpoint

    world = World(rank=0, size=1, device=recipe.profile.device.value)
    recipe = alone(recipe)
    job = prepare(recipe, world=world, loader=open_loader(recipe, pack), checkpoint=checkpoint)
    step = 1 + (open_checkpoint(checkpoint).position.step if checkpoint else 0)
    return step, forward_loss(job, step)
