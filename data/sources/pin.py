"""Verb pin: prints every hash that the sources of a recipe should have, and receives what it must to learn them.

Each line is an override: it may be put on a command line as it is, or into the recipe. What is printed is what was
there now, whoever put it there: look at the files before you pin them.
"""

import sys

from core.cli import recipe_and_overrides
from core.config import load
from data.sources.config import UnpinnedConfig
from data.sources.fetch import naming
from data.sources.shelf import Shelf


def main(arguments: list[str]) -> None:
    """Run the verb: write a line for every hash to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data pin")
    config = load(recipe, "sources", UnpinnedConfig, overrides)
    shelf = Shelf(config)
    for index, item in enumerate(config.items):
        with naming(item):
            for place, value in item.how.pins(item, shelf).items():
                sys.stdout.write(f"sources.items.{index}.{place}={value}\n")
