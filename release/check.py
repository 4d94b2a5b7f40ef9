"""Verb check: reads the sections of a recipe that release/ needs, so that a mistake is found before any work."""

from collections.abc import Mapping
from typing import Any

from core.cli import recipe_and_overrides
from core.config import RunConfig, load, resolve
from core.errors import ConfigError
from release.config import ReleaseConfig, check_name
from release.lineage import check_parent
from release.openness.words import read_words


def main(arguments: list[str]) -> None:
    """Run the verb: silent if the recipe is sound, else ConfigError."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m release check")
    check_name(load(recipe, "run", RunConfig, overrides).name)
    config = load(recipe, "release", ReleaseConfig, overrides)
    for parent in config.parents:
        check_parent(parent.bundle, parent.root)
    whole = resolve(recipe, overrides)
    for section, field in (("train", "start"), ("pack", "base")):
        is_on = bool((whole.get(section) or {}).get(field))
        if is_on and not config.parents and not (section == "train" and config.start_license):
            raise ConfigError(
                f"{section}.{field} takes something over from another run, and release.parents names no bundle; add "
                "{bundle: FOLDER, root: HEX} of that run's, or for imported weights release.start_license"
            )
    _check_merged(whole.get("merge"), config)
    words = config.words_path
    if words:
        read_words(words)


def _check_merged(section: Mapping[str, Any] | None, config: ReleaseConfig) -> None:
    """Raise ConfigError for weights of others that are merged and whose licence nobody would state."""
    for source in [*(section.get("base") or []), *section["models"]] if section else []:
        if source.get("weights_sha256") and not source.get("license") and not config.parents:
            raise ConfigError(
                f"merge takes weights {source['weights_sha256']!r} of others, and release.parents names no bundle; add "
                "{bundle: FOLDER, root: HEX} of theirs, or their license in section merge"
            )
