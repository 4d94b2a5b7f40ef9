"""Verb rates: the learning rate of every step, from the recipe alone. Free of torch.

A ledger's `lr` field is such a rate, the same bits on every machine, so these lines can be held against it without
training anything.
"""

import sys
from collections.abc import Sequence

from core.cli import recipe_and_overrides
from train.recipe import read_recipe
from train.schedule import learning_rate


def main(arguments: Sequence[str]) -> None:
    """Write the rate of every step as a hex float, one a line."""
    config = read_recipe(*recipe_and_overrides(arguments, "python -m train rates")).train
    sys.stdout.writelines(f"{learning_rate(step, config).hex()}\n" for step in range(1, config.steps + 1))
