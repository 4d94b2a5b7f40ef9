"""What a recipe needs that may not be installed, asked before anything starts. Free of torch."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import fsspec

from core.errors import ConfigError
from train.config import Placement, Sum
from train.recipe import Recipe

# The one that deepspeed_engine.py was made for: it uses names that are not part of DeepSpeed's public interface.
DEEPSPEED = "0.19.8"


def check_needs(recipe: Recipe) -> None:
    """Raise ConfigError if a placement's package or an address's client is missing, or parts do not go together."""
    if recipe.train.placement.deepspeed_stage:
        check_deepspeed()
    if recipe.train.checkpoints:
        check_client(recipe.train.checkpoints)
    is_native = recipe.train.placement is Placement.DEEPSPEED3 and recipe.train.sum is Sum.FAST
    if is_native and recipe.profile.is_compiled:
        raise ConfigError(
            "placement deepspeed3 with train.sum fast cannot be compiled: the engine's hooks stand inside of the "
            "blocks; set profile.is_compiled=false, or take sum canonical or another placement"
        )


def check_deepspeed() -> None:
    """Raise ConfigError unless DeepSpeed is there in the version that this was made for."""
    found = "no deepspeed"
    with suppress(PackageNotFoundError):
        found = f"deepspeed {version('deepspeed')}"
    if found != f"deepspeed {DEEPSPEED}":
        raise ConfigError(
            f"placement deepspeed1, 2 and 3 need deepspeed {DEEPSPEED}, {found} is installed; "
            f"pip install deepspeed=={DEEPSPEED}, or take another train.placement"
        )


def check_client(address: str) -> None:
    """Raise ConfigError if there is no client for an address of fsspec; the store itself is not asked."""
    parts = address.split("::")
    names = [part.partition("://")[0] for part in parts if "://" in part or len(parts) > 1]
    try:
        for name in names:
            # s3 is pyarrow's, which is always there (destination.py).
            if name != "s3":
                fsspec.get_filesystem_class(name)
    except (ImportError, ValueError) as error:
        raise without_client(address, error) from error


def without_client(address: str, error: Exception) -> ConfigError:
    """What is said where no client is installed for an address."""
    return ConfigError(f"train.checkpoints is {address!r}, which has no client here: {error}")
