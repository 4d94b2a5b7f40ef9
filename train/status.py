"""Verb status: whether a recipe's training is done, or which step is committed. Free of torch; reads a few small files.

A job of a cluster's scheduler asks this, not for exit codes: Slurm's srun was seen to end with 0 after a node had died.
"""

import sys
from collections.abc import Sequence

from core.artifact import open_artifact
from core.cli import recipe_and_overrides
from core.errors import DataError
from train.recipe import Recipe, read_recipe
from train.run import work_of
from train.store import CHECKPOINTS, list_checkpoints


def main(arguments: Sequence[str]) -> None:
    """Write `finished FOLDER`, or `unfinished STEP` with the newest committed step (0: none)."""
    sys.stdout.write(status(read_recipe(*recipe_and_overrides(arguments, "python -m train status"))) + "\n")


def status(recipe: Recipe) -> str:
    """What `main` writes. Raises DataError if the packed tokens that the recipe trains on are not there."""
    wanted = work_of(recipe).wanted
    try:
        if open_artifact(wanted.final).record.get("key") == wanted.key:
            return f"finished {wanted.final}"
    except DataError:
        # It is not there yet, or so damaged that training makes it again.
        pass
    return f"unfinished {max(list_checkpoints(wanted.aside / CHECKPOINTS), default=0)}"
