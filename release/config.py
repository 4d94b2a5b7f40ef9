"""Section `release` of a recipe."""

import math
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from core.codetree import ROOT
from core.config import placement
from core.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# The bundle's folder in its artifact may not have the name of what an artifact leaves out of its digest.
TAKEN = "witness"
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(kw_only=True, slots=True)
class ParentConfig:
    """A bundle from which this run comes: its root, and where it lies."""

    root: str
    bundle: Path = placement(Path)

    def __post_init__(self) -> None:
        if not DIGEST.fullmatch(self.root):
            raise ConfigError(f"release.parents has root {self.root!r}; give the 64 digits of the parent bundle's root")


@dataclass(kw_only=True, slots=True)
class EquivalenceConfig:
    """When runs of other seeds count as equivalent (seeds.py): stated in the bundle, so fixed before others run.

    `margin`: largest difference of mean losses, in nats per token; 0 states none. `last_steps`: steps at the end of a
    run whose mean loss is compared.
    """

    margin: float = 0.0
    last_steps: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.margin < math.inf and self.last_steps >= 1):
            raise ConfigError(
                f"release.equivalence has margin {self.margin} and last_steps {self.last_steps}; give a margin of 0 or "
                "more and at least 1 step"
            )


class Shape(Enum):
    """Whether a bundle is written as a whole, or a thin one beside it."""

    FULL = "full"
    THIN = "thin"


@dataclass(kw_only=True, slots=True)
class ReleaseConfig:
    """What goes into a bundle; identity but for the place of the words, whose content counts, and the shape.

    `checkpoint_every_steps`: checkpoints whose step is a multiple of it are shipped, and the last one.
    `license`: SPDX identifier under which what the run made (weights, tokenizer, logs) is released.
    `parents`: bundles whose state (train.start) or data order (pack.base) this run goes on from.
    `start_license`: SPDX identifier of imported weights, which come from no bundle (train.start).
    `is_start_shipped`: whether the parent's checkpoint is in the bundle, so that it can be checked without the parent.
    `equivalence`: when runs of other seeds count as equivalent to this one.
    `shape`: with thin, `release build` also writes `<name>-thin` into the run's folder: the same root, big parts by
    digest, and `mirrors` as the addresses where these may be had (thin.py).
    `words`: the author's own words for cards and report, a Markdown file in the checkout or anywhere.
    """

    checkpoint_every_steps: int
    license: str = "Apache-2.0"
    parents: list[ParentConfig] = field(default_factory=list)
    start_license: str = ""
    is_start_shipped: bool = True
    equivalence: EquivalenceConfig = field(default_factory=EquivalenceConfig)
    words: Path = placement(Path())
    shape: Shape = placement(Shape.FULL)
    mirrors: list[str] = placement(list)

    def __post_init__(self) -> None:
        if self.checkpoint_every_steps < 1:
            raise ConfigError(f"release.checkpoint_every_steps is {self.checkpoint_every_steps}; give at least 1")
        if self.mirrors and self.shape is not Shape.THIN:
            raise ConfigError("release.mirrors are those of a thin bundle; set release.shape=thin, or leave them out")
        if not self.license.strip():
            raise ConfigError("release.license is empty; name the licence of the weights, such as Apache-2.0")

    @property
    def words_path(self) -> Path | None:
        """Where the author's words lie, if there are any; a relative path begins at the checkout."""
        return ROOT / self.words if self.words != Path() else None


def check_name(name: str) -> None:
    """Raise ConfigError if a run's name cannot be that of a bundle's folder."""
    if not NAME.fullmatch(name) or name == TAKEN:
        raise ConfigError(
            f"run.name {name!r} is to be the bundle's folder: use letters, digits, dots, dashes and underscores, "
            f"a letter or digit first, and not {TAKEN!r}"
        )
