"""Section `release` of a recipe."""

import re
from dataclasses import dataclass

from core.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# The bundle's folder in its artifact may not have the name of what an artifact leaves out of its digest.
TAKEN = "witness"


@dataclass(kw_only=True, slots=True)
class ReleaseConfig:
    """What goes into a bundle; all identity.

    `checkpoint_every_steps`: checkpoints whose step is a multiple of it are shipped, and the last one.
    `license`: SPDX identifier under which what the run made (weights, tokenizer, logs) is released.
    """

    checkpoint_every_steps: int
    license: str = "Apache-2.0"

    def __post_init__(self) -> None:
        if self.checkpoint_every_steps < 1:
            raise ConfigError(f"release.checkpoint_every_steps is {self.checkpoint_every_steps}; give at least 1")
        if not self.license.strip():
            raise ConfigError("release.license is empty; name the licence of the weights, such as Apache-2.0")


def check_name(name: str) -> None:
    """Raise ConfigError if a run's name cannot be that of a bundle's folder."""
    if not NAME.fullmatch(name) or name == TAKEN:
        raise ConfigError(
            f"run.name {name!r} is to be the bundle's folder: use letters, digits, dots, dashes and underscores, "
            f"a letter or digit first, and not {TAKEN!r}"
        )
