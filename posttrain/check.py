"""Verbs check and fingerprint: what can be said of a recipe without starting anything. Free of torch."""

import sys
from collections.abc import Sequence

from core.cli import recipe_and_overrides
from core.config import RunConfig, load
from core.errors import ConfigError
from core.hashing import canonical_json
from core.profile import ProfileConfig, fingerprint
from core.stages import sections_of
from model.config import ModelConfig
from posttrain.config import MergeConfig, QuantizeConfig
from train.config import TrainConfig


def main(arguments: Sequence[str]) -> None:
    """Check the sections of a recipe that posttrain/ reads. Raises ConfigError for the first thing that is wrong."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m posttrain check")
    load(recipe, "run", RunConfig, overrides)
    load(recipe, "profile", ProfileConfig, overrides)
    load(recipe, "model", ModelConfig, overrides)
    sections = sections_of(recipe, overrides)
    if "quantize" in sections:
        load(recipe, "quantize", QuantizeConfig, overrides)
    if "merge" in sections:
        config = load(recipe, "merge", MergeConfig, overrides)
        for source in config.sources:
            if source.step:
                if "train" not in sections:
                    raise ConfigError(
                        f"merge names {source.name}, and the recipe trains nothing; give weights_sha256 and folder"
                    )
                _check_step(source.step, load(recipe, "train", TrainConfig, overrides))
            elif not source.folder.is_dir():
                raise ConfigError(f"merge names {source.name} in {source.folder}, which is no folder; give its folder")


def _check_step(step: int, train: TrainConfig) -> None:
    if not train.is_kept(step):
        raise ConfigError(
            f"merge names step {step}, of which the training keeps no checkpoint (train.save_every_steps "
            f"{train.save_every_steps}, keep_every_steps {train.keep_every_steps}, steps {train.steps}); name another"
        )


def fingerprint_main(arguments: Sequence[str]) -> None:
    """Write the fingerprint of the recipe's numerics profile on this machine, as JSON."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m posttrain fingerprint")
    profile = load(recipe, "profile", ProfileConfig, overrides)
    sys.stdout.write(canonical_json(fingerprint(profile)).decode() + "\n")
