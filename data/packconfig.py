"""Section `pack` of a recipe: window length, seed, and how the run goes through the sources.

Which numbers the sections of others must agree with is decided where those are known, in course.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from core.config import PLACEMENT, added
from core.errors import ConfigError
from data.chat import Form
from data.mixture import PERMILLE, Phase, check_phases

SHA256 = re.compile(r"[0-9a-f]{64}")
NOT_GIVEN = -1


class Unit(Enum):
    """What a place in a run is counted in. A sample is one window: seq_len tokens to predict."""

    SAMPLES = "samples"
    TOKENS = "tokens"
    STEPS = "steps"
    """Of the trainer's shape: train.micro_batches times train.micro_batch samples."""
    PERMILLE = "permille"
    """Thousandths of the run: of train.steps steps."""


@dataclass(kw_only=True, slots=True)
class PhaseConfig:
    """A stretch of the run with weights of its own, from `start` to the start of the next phase or the run's end.

    weights     integers of 1 or more; a source without one is not drawn
    base_share  with pack.base only: this phase's share, 0 to 1000; if not given, pack.base.share
    """

    name: str
    weights: dict[str, int] = field(default_factory=dict)
    start: int = 0
    unit: Unit = Unit.SAMPLES
    base_share: int = NOT_GIVEN

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a phase of pack.phases has no name; give each one of its own")
        if self.start < 0:
            raise ConfigError(f"phase {self.name} of pack.phases starts at {self.start}; give 0 or more")
        if self.unit is Unit.PERMILLE and self.start >= PERMILLE:
            raise ConfigError(f"phase {self.name} of pack.phases starts at {self.start} permille; give 0 to 999")
        if not NOT_GIVEN <= self.base_share <= PERMILLE:
            raise ConfigError(f"phase {self.name} of pack.phases has base_share {self.base_share}; give 0 to 1000")


@dataclass(kw_only=True, slots=True)
class BaseConfig:
    """The mixture of a parent's run, as part of this run's.

    order     the parent's order.json, in its run or bundle, beside its shards
    sha256    its SHA-256, the parent's data root
    share     permille of the samples that the parent's sources give, among themselves in the parent's ratio
    phase     whose weights: the name of a phase of the parent, if it has several
    consumed  how far the parent has trained, in samples or tokens: its sources go on from there; 0 starts them afresh
    """

    order: Path = field(default=Path(), metadata={PLACEMENT: True})
    sha256: str = ""
    share: int = NOT_GIVEN
    phase: str = ""
    consumed: int = NOT_GIVEN
    unit: Unit = Unit.SAMPLES

    @property
    def is_on(self) -> bool:
        """Whether there is a parent."""
        return bool(self.sha256) or self.order != Path()

    def check(self) -> None:
        """Raise ConfigError if something is missing or out of range."""
        if not SHA256.fullmatch(self.sha256):
            raise ConfigError(f"pack.base.sha256 is {self.sha256!r}; give the SHA-256 of the parent's order.json")
        if not 0 <= self.share <= PERMILLE:
            raise ConfigError(f"pack.base.share is {self.share}; give the permille of the parent's sources, 0 to 1000")
        if self.consumed < 0:
            raise ConfigError(
                "pack.base.consumed is not given; say how many samples or tokens the parent has trained on, or 0"
            )
        if self.unit not in (Unit.SAMPLES, Unit.TOKENS):
            raise ConfigError(
                f"pack.base.unit is {self.unit.value}; count what the parent consumed in samples or tokens"
            )


class TooLong(Enum):
    """What happens to a conversation that does not fit into a window; a pair is always dropped. All are counted."""

    DROP = "drop"
    TRUNCATE = "truncate"
    """The messages behind the last of the assistant that fits are left out; dropped if none does."""


@dataclass(kw_only=True, slots=True)
class PackConfig:
    """Section `pack`. A window is seq_len + 1 tokens.

    weights         integers; a source without one is left out; of a run without phases
    phases          instead of `weights`: the first starts at 0
    max_epochs      how often a run may go through a source, by name; for all others max_epochs_default, 0 is no limit
    heldout_tokens  of each source, tokens of held-out documents for train.eval_every_steps; 0 is none
    form            what the sources hold: plain text, conversations or pairs (read.form)
    too_long        of conversations that do not fit into a window
    """

    seed: int
    seq_len: int
    weights: dict[str, int] = field(default_factory=dict)
    phases: list[PhaseConfig] = field(default_factory=list)
    base: BaseConfig = field(default_factory=BaseConfig)
    max_epochs: dict[str, int] = field(default_factory=dict)
    max_epochs_default: int = 0
    shard_tokens: int = 1 << 26
    heldout_tokens: int = 0
    form: Form = added(Form.TEXT)
    too_long: TooLong = added(TooLong.DROP)

    def __post_init__(self) -> None:
        for name in ("seq_len", "shard_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"pack.{name} is {getattr(self, name)}; give at least 1")
        if self.heldout_tokens < 0:
            raise ConfigError(f"pack.heldout_tokens is {self.heldout_tokens}; give 0 or more")
        if self.max_epochs_default < 0 or min(self.max_epochs.values(), default=1) < 1:
            raise ConfigError(
                f"pack.max_epochs is {self.max_epochs}, max_epochs_default {self.max_epochs_default}; "
                "give integers of 1 or more, or none for no limit"
            )
        if self.base.is_on:
            self.base.check()
        self._check_form()
        self._check_phases()

    @property
    def stretches(self) -> list[PhaseConfig]:
        """The phases; without any, one from the start to the end of the run, with no name."""
        return self.phases or [_whole(self.weights)]

    @property
    def sources(self) -> list[str]:
        """The sources that have a weight in some phase, sorted; those of a parent not included."""
        return sorted({name for phase in self.stretches for name in phase.weights})

    def base_share(self, phase: PhaseConfig) -> int:
        """Permille of a phase's samples that come from the parent's sources."""
        if not self.base.is_on:
            return 0
        return self.base.share if phase.base_share == NOT_GIVEN else phase.base_share

    def _check_form(self) -> None:
        """Refuse what does not apply to the windows of conversations and pairs."""
        if self.too_long is not TooLong.DROP and self.form is not Form.CONVERSATIONS:
            raise ConfigError(f"pack.too_long is truncate, but of {self.form.value} nothing is cut; leave it at drop")
        if self.form is Form.TEXT:
            return
        if self.base.is_on:
            raise ConfigError(f"pack.form is {self.form.value}, but a parent's mixture is of text; leave out pack.base")
        if self.heldout_tokens and self.form is Form.PAIRS:
            raise ConfigError("pack.heldout_tokens is of text and conversations, pack.form is pairs; leave it at 0")

    def _check_phases(self) -> None:
        if self.phases and self.weights:
            raise ConfigError("pack has both weights and phases; put the weights into the phases")
        names = [phase.name for phase in self.phases]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ConfigError(f"pack.phases has two phases named {doubled[0]}; names must differ")
        for at, phase in enumerate(self.stretches):
            where = f"pack.phases[{at}].weights" if self.phases else "pack.weights"
            self._check_weights(phase, where=where)
        if self.stretches[0].start:
            raise ConfigError(f"pack.phases starts with {names[0]} at {self.phases[0].start}; the first starts at 0")

    def _check_weights(self, phase: PhaseConfig, *, where: str) -> None:
        share = self.base_share(phase)
        if phase.base_share != NOT_GIVEN and not self.base.is_on:
            raise ConfigError(f"phase {phase.name} of pack.phases has base_share, but there is no pack.base; give one")
        if not phase.weights and share != PERMILLE:
            raise ConfigError(f"{where} is {phase.weights}; give sources with integers of 1 or more")
        if min(phase.weights.values(), default=1) < 1:
            raise ConfigError(f"{where} is {phase.weights}; give sources with integers of 1 or more")
        if phase.weights and share == PERMILLE:
            raise ConfigError(f"{where} is {phase.weights}, but the base has all 1000 permille; lower its share")
        if phase.weights:
            check_phases([Phase(start=0, weights=tuple(phase.weights.values()))])


def _whole(weights: Mapping[str, int]) -> PhaseConfig:
    return PhaseConfig(name="all", weights=dict(weights))
