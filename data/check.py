"""Verb check: loads every section of a recipe that data/ reads, so that a mistake costs a second and not a day."""

from core.cli import recipe_and_overrides
from core.config import RunConfig, load
from core.errors import ConfigError
from data.clean import CleanConfig
from data.packconfig import PackConfig
from data.sources.config import SourcesConfig
from data.tokenizer import TokenizerConfig


def main(arguments: list[str]) -> None:
    """Check the sections and that they agree; says nothing if they do. Raises ConfigError naming what is wrong."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data check")
    load(recipe, "run", RunConfig, overrides)
    sources = load(recipe, "sources", SourcesConfig, overrides)
    load(recipe, "clean", CleanConfig, overrides)
    load(recipe, "tokenizer", TokenizerConfig, overrides)
    pack = load(recipe, "pack", PackConfig, overrides)
    strange = sorted(set(pack.weights) - {item.name for item in sources.items})
    if strange:
        raise ConfigError(
            f"recipe {recipe}: pack.weights has {strange[0]}, which is no source; "
            f"the sources are {', '.join(item.name for item in sources.items)}"
        )
