"""Sections `merge` and `quantize`: of which weights, and how. Free of torch."""

import math
import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from core.config import placement
from core.errors import ConfigError

DIGEST = re.compile(r"[0-9a-f]{64}")


class Method(Enum):
    """How weights are merged (arithmetic.py)."""

    LINEAR = "linear"
    SLERP = "slerp"
    TASK_ARITHMETIC = "task_arithmetic"
    TIES = "ties"


OF_BASE = (Method.TASK_ARITHMETIC, Method.TIES)


@dataclass(kw_only=True, slots=True)
class SourceConfig:
    """Weights that are merged: a step of this run's own training, or the file with this SHA-256 in a folder.

    `folder` is a bundle, an export of ours, or a checkpoint's folder; `weights_sha256` is of its model.safetensors.
    `weight` is the share, or the factor of the difference from the base; slerp has none. `license`: SPDX identifier of
    weights that come from no bundle in release.parents.
    """

    step: int = 0
    weights_sha256: str = ""
    folder: Path = placement(Path)
    weight: float = 1.0
    license: str = ""

    def __post_init__(self) -> None:
        if bool(self.step) == bool(self.weights_sha256) or self.step < 0:
            raise ConfigError(
                f"merge names weights with step {self.step} and weights_sha256 {self.weights_sha256!r}; give the step "
                "of this run's training, or the SHA-256 of a model.safetensors and its folder"
            )
        if self.weights_sha256 and not DIGEST.fullmatch(self.weights_sha256):
            raise ConfigError(f"merge has weights_sha256 {self.weights_sha256!r}; give 64 digits of a SHA-256")
        if not math.isfinite(self.weight):
            raise ConfigError(f"merge has weight {self.weight}; give a number")

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"step {self.step}" if self.step else f"weights {self.weights_sha256[:12]}"


@dataclass(kw_only=True, slots=True)
class MergeConfig:
    """Section `merge`: identity but for the folders.

    `base` is what task arithmetic and TIES take the differences from, one entry; `position` is where slerp stops
    between the first model (0) and the second (1); `density` is the share of each tensor's differences that TIES keeps;
    `scale` multiplies the merged difference.
    """

    method: Method
    models: list[SourceConfig]
    base: list[SourceConfig] = field(default_factory=list)
    position: float = 0.5
    density: float = 0.2
    scale: float = 1.0

    def __post_init__(self) -> None:
        least = 1 if self.method is Method.TASK_ARITHMETIC else 2
        if len(self.models) < least or (self.method is Method.SLERP and len(self.models) != 2):
            said = "exactly 2" if self.method is Method.SLERP else f"at least {least}"
            raise ConfigError(f"merge.models names {len(self.models)} models; {self.method.value} takes {said}")
        if len(self.base) != (self.method in OF_BASE):
            said = "takes one: [{step or weights_sha256 and folder}]" if self.method in OF_BASE else "has none"
            raise ConfigError(f"merge.base names {len(self.base)} models; {self.method.value} {said}")
        if not 0 <= self.position <= 1 or not 0 < self.density <= 1 or not math.isfinite(self.scale):
            raise ConfigError(
                f"merge has position {self.position}, density {self.density} and scale {self.scale}; give a position "
                "from 0 to 1, a density above 0 and up to 1, and a finite scale"
            )
        if self.method is Method.LINEAR and not math.fsum(model.weight for model in self.models):
            raise ConfigError("the weights in merge.models sum to 0; a weighted average divides by their sum")
        names = [source.name for source in self.sources]
        twice = next((name for name in names if names.count(name) > 1), "")
        if twice:
            raise ConfigError(f"merge names {twice} twice; name each model once, with its weight")

    @property
    def sources(self) -> list[SourceConfig]:
        """All weights that are taken: the base, if there is one, and the models."""
        return [*self.base, *self.models]


@dataclass(kw_only=True, slots=True)
class QuantizeConfig:
    """Section `quantize`: all identity.

    `bits` of a weight, 8 or 4; `group` elements of a row share a scale, 0: the whole row does. Matrices whose name
    begins with one of `keeps` stay in fp32, as norms always do. The loss before and after is taken on the first tokens,
    up to `text_tokens`, of `text_documents` held-out documents of each source.
    """

    bits: int = 8
    group: int = 0
    keeps: list[str] = field(default_factory=lambda: ["embedding", "head"])
    text_documents: int = 20
    text_tokens: int = 128

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ConfigError(f"quantize.bits is {self.bits}; give 8 or 4")
        if self.group < 0 or self.group % 2:
            raise ConfigError(f"quantize.group is {self.group}; give an even number of elements, or 0 for whole rows")
        if self.text_documents < 1 or self.text_tokens < 2:
            raise ConfigError(
                f"quantize has text_documents {self.text_documents} and text_tokens {self.text_tokens}; give at least "
                "1 and 2, or the loss is of nothing"
            )
