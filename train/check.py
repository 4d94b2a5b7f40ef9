"""Verbs check and fingerprint: what can be said of a recipe without starting anything. Free of torch."""

import sys
from collections.abc import Sequence

from core.cli import recipe_and_overrides
from core.hashing import canonical_json
from core.profile import fingerprint
from train.needs import check_needs
from train.plan import check_here
from train.recipe import check_form, heldout_tokens, read_recipe


def main(arguments: Sequence[str]) -> None:
    """Check the sections of a recipe that train/ reads, and that its ranks can fit into this machine's memory."""
    name, overrides = recipe_and_overrides(arguments, "python -m train check")
    recipe = read_recipe(name, overrides)
    check_form(name, overrides, recipe=recipe)
    heldout_tokens(name, overrides, recipe=recipe)
    check_needs(recipe)
    sys.stderr.write(check_here(name, overrides, recipe=recipe))


def fingerprint_main(arguments: Sequence[str]) -> None:
    """Write the fingerprint of the recipe's numerics profile on this machine, as JSON."""
    recipe = read_recipe(*recipe_and_overrides(arguments, "python -m train fingerprint"))
    sys.stdout.write(canonical_json(fingerprint(recipe.profile)).decode() + "\n")
