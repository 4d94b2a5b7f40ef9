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

from core.arguments import Parser
from core.cli import recipe_and_overrides
from core.profile import apply
from core.progress import Progress
from train.recipe import Recipe, read_recipe
from train.replay import INIT

USAGE = "python -m train losses RECIPE --pack DIR --start CHECKPOINT_DIR|init [--start ...] [key=value ...]"


def main(arguments: Sequence[str]) -> None:
    """Write one line of JSON a state: the next step, and its loss as a hex float."""
    parser = Parser(USAGE)
    parser.add_argument("recipe")
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--start", action="append", required=True)
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_intermixed_args(list(arguments))
    recipe = read_recipe(*recipe_and_overrides([given.recipe, *given.overrides], USAGE))
    apply(recipe.profile)
    progress = Progress("forward passes", total=len(given.start), unit="states")
    for start in given.start:
        step, loss = next_loss(recipe, given.pack, None if start == INIT else Path(start))
        sys.stdout.write(f"{json.dumps({'step': step, 'loss': loss.hex()})}\n")
        progress.advance()


def next_loss(recipe: Recipe, pack: Path, checkpoint: Path | None) -> tuple[int, float]:
    """The step behind a state, and its loss. Raises DataError if the checkpoint or the tokens are damaged."""
    from train.audit import alone
    from train.loop import open_loader, prepare
    from train.reference import compute_reference
    from train.runtime import World
    from train.step import forward_loss
    from train.store import open_checkpoint

    world = World(rank=0, size=1, device=recipe.profile.device.value)
    recipe = alone(recipe)
    loader = open_loader(recipe, pack)
    step = 1 + (open_checkpoint(checkpoint).position.step if checkpoint else 0)
    reference = compute_reference(recipe, loader, world=world, steps=[step])
    job = prepare(recipe, world=world, loader=loader, checkpoint=checkpoint, reference=reference)
    return step, forward_loss(job, step)
