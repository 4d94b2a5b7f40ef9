"""Verb check: load and check every section of a recipe that inference/ reads, without torch."""

from core.cli import recipe_and_overrides
from core.config import RunConfig, load
from core.profile import ProfileConfig
from inference.config import ExportConfig, check_exportable
from model.config import ModelConfig


def main(arguments: list[str]) -> None:
    """Raise ConfigError for the first thing that is wrong; say nothing if nothing is."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m inference check")
    load(recipe, "run", RunConfig, overrides)
    load(recipe, "profile", ProfileConfig, overrides)
    load(recipe, "export", ExportConfig, overrides)
    check_exportable(load(recipe, "model", ModelConfig, overrides))
