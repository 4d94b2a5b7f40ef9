"""Verb check: reads the sections of a recipe that release/ needs, so that a mistake is found before any work."""

from core.cli import recipe_and_overrides
from core.config import RunConfig, load
from release.config import ReleaseConfig, check_name
from release.openness.words import read_words


def main(arguments: list[str]) -> None:
    """Run the verb: silent if the recipe is sound, else ConfigError."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m release check")
    check_name(load(recipe, "run", RunConfig, overrides).name)
    words = load(recipe, "release", ReleaseConfig, overrides).words_path
    if words:
        read_words(words)
