"""Verb check: loads every section of a recipe that data/ reads, so that a mistake costs a second and not a day."""

from core.cli import recipe_and_overrides
from core.config import RunConfig, load, resolve
from data.clean import CleanConfig
from data.course import plan_course
from data.engineconfig import EngineConfig
from data.packconfig import PackConfig
from data.sources.config import SourcesConfig
from data.tokenizer import TokenizerConfig


def main(arguments: list[str]) -> None:
    """Check the sections and that they agree; says nothing if they do. Raises ConfigError naming what is wrong."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data check")
    load(recipe, "run", RunConfig, overrides)
    sources = load(recipe, "sources", SourcesConfig, overrides)
    load(recipe, "data", EngineConfig, overrides)
    load(recipe, "clean", CleanConfig, overrides)
    load(recipe, "tokenizer", TokenizerConfig, overrides)
    pack = load(recipe, "pack", PackConfig, overrides)
    course = plan_course(pack, resolve(recipe, overrides))
    course.check_sources([item.name for item in sources.items])
    course.check_end()
