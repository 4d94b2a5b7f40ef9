"""Verb check: loads every section of a recipe that data/ reads, so that a mistake costs a second and not a day.

It holds the sections against one another and reads what lies beside the recipe (evaluation sets, a parent's order), so
that what can be known before the first stage does not stop a later one.
"""

from core.cli import recipe_and_overrides
from core.config import RunConfig, load, resolve
from data.clean import check_inputs
from data.cleanconfig import CleanConfig
from data.course import plan_course
from data.engineconfig import EngineConfig
from data.packconfig import PackConfig
from data.sources.config import SourcesConfig
from data.tokenizer import TokenizerConfig


def main(arguments: list[str]) -> None:
    """Check the sections and that they agree; says nothing if they do.

    Raises ConfigError naming what is wrong in the recipe, DataError for a file that is not as the recipe says.
    """
    recipe, overrides = recipe_and_overrides(arguments, "python -m data check")
    load(recipe, "run", RunConfig, overrides)
    sources = load(recipe, "sources", SourcesConfig, overrides)
    load(recipe, "data", EngineConfig, overrides)
    clean = load(recipe, "clean", CleanConfig, overrides)
    load(recipe, "tokenizer", TokenizerConfig, overrides)
    pack = load(recipe, "pack", PackConfig, overrides)
    course = plan_course(pack, resolve(recipe, overrides))
    names = [item.name for item in sources.items]
    check_inputs(clean, names)
    course.check_sources(names)
    course.check_end()
