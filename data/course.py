"""How a run goes through its sources: the phases of section `pack` in samples, its length, and a parent's mixture.

A place in the run becomes a sample so: `samples` as they are; `tokens` ceil(tokens / seq_len), the first sample before
which at least that many tokens were targets; `steps` steps * micro_batches * micro_batch of section `train`; `permille`
ceil(permille * samples of the whole run / 1000). A phase may begin within a step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import ConfigError
from data.limits import check_end
from data.mixture import PERMILLE, Phase, check_phases, join_weights
from data.order import StepShape
from data.packconfig import PackConfig, PhaseConfig, Unit
from data.parent import Parent, open_parent

LENGTH = ("steps", "micro_batches", "micro_batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLength:
    """How long a run is, as section `train` says."""

    steps: int
    shape: StepShape

    @property
    def samples(self) -> int:
        """Windows that the run takes."""
        return self.steps * self.shape.samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Section `pack` made definite: phases as order.json has them; `run` is None for a recipe without section train."""

    config: PackConfig
    run: RunLength | None
    parent: Parent | None
    phases: Sequence[Mapping[str, Any]]

    @property
    def facts(self) -> dict[str, Any]:
        """What of it decides the data order and is not in section `pack` itself."""
        return {"phase_starts": [phase["start"] for phase in self.phases]} if self.config.phases else {}

    @property
    def parent_sources(self) -> Sequence[Mapping[str, Any]]:
        """The sources taken over from the parent, as order.json lists them."""
        return self.parent.sources if self.parent else []

    def check_sources(self, names: Sequence[str]) -> None:
        """Hold the names in section `pack` against the recipe's sources. Raises ConfigError naming one that is none."""
        inherited = [source["name"] for source in self.parent_sources]
        for name in self.config.sources:
            if name not in names:
                where = "pack.phases" if self.config.phases else "pack.weights"
                raise ConfigError(f"{where} has {name}, which is no source; the sources are {', '.join(names)}")
        for name in self.config.max_epochs:
            if name not in [*self.config.sources, *inherited]:
                raise ConfigError(
                    f"pack.max_epochs has {name}, which has no weight; those with one are "
                    f"{', '.join(sorted([*self.config.sources, *inherited]))}"
                )

    def check_end(self) -> None:
        """Raise ConfigError if the run is known to end before a phase begins."""
        if self.run:
            check_end(self.phases, samples=self.run.samples)

    def record(self, sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What order.json says of the order over sources as `describe` gives them; the parent's are added."""
        together = sorted([*sources, *self.parent_sources], key=lambda source: str(source["name"]))
        limits = self._limits([source["name"] for source in together])
        return {
            "seed": self.config.seed,
            "seq_len": self.config.seq_len,
            "phases": list(self.phases),
            "sources": together,
            **({"max_epochs": limits} if limits else {}),
            **({"base": self.parent.facts} if self.parent else {}),
        }

    def _limits(self, names: Sequence[str]) -> dict[str, int]:
        given, default = self.config.max_epochs, self.config.max_epochs_default
        return {name: given.get(name, default) for name in names if given.get(name, default)}


def plan_course(config: PackConfig, recipe: Mapping[str, Any]) -> Course:
    """The course that section `pack` of a recipe, given whole as plain values, describes.

    Reads the parent's order.json if there is one. Raises ConfigError if phases, weights or shares make no mixture.
    """
    run = read_length(recipe)
    parent = open_parent(config.base, seq_len=config.seq_len) if config.base.is_on else None
    doubled = sorted({source["name"] for source in parent.sources} & set(config.sources)) if parent else []
    if doubled:
        raise ConfigError(
            f"source {doubled[0]} has a weight in section pack and in its base; rename the new one, or leave it out"
        )
    phases = [_phase(phase, config=config, parent=parent, run=run) for phase in config.stretches]
    names = sorted({name for phase in phases for name in phase["weights"]})
    check_phases(
        [Phase(start=phase["start"], weights=tuple(phase["weights"].get(n, 0) for n in names)) for phase in phases]
    )
    return Course(config=config, run=run, parent=parent, phases=phases)


def read_length(recipe: Mapping[str, Any]) -> RunLength | None:
    """The length of a run, from section `train` of a recipe as plain values; None if there is no such section.

    Raises ConfigError if a number is missing or below 1.
    """
    train = recipe.get("train")
    if train is None:
        return None
    for name in LENGTH:
        if not isinstance(train.get(name), int) or train[name] < 1:
            raise ConfigError(f"train.{name} is {train.get(name)}; give an integer of at least 1")
    steps, micro_batches, micro_batch = (train[name] for name in LENGTH)
    return RunLength(steps=steps, shape=StepShape(micro_batches=micro_batches, micro_batch=micro_batch))


def start_sample(phase: PhaseConfig, *, seq_len: int, run: RunLength | None) -> int:
    """The sample at which a phase begins, by the rule above. Raises ConfigError if it needs the length of the run."""
    if phase.unit is Unit.SAMPLES:
        return phase.start
    if phase.unit is Unit.TOKENS:
        return -(-phase.start // seq_len)
    if run is None:
        raise ConfigError(
            f"phase {phase.name} of pack.phases starts at {phase.start} {phase.unit.value}, but the recipe has no "
            "section train to say how long the run is; count in samples or tokens"
        )
    if phase.unit is Unit.STEPS:
        return phase.start * run.shape.samples
    return -(-phase.start * run.samples // PERMILLE)


def _phase(phase: PhaseConfig, *, config: PackConfig, parent: Parent | None, run: RunLength | None) -> dict[str, Any]:
    start = start_sample(phase, seq_len=config.seq_len, run=run)
    name = {"name": phase.name} if config.phases else {}
    weights = dict(phase.weights)
    if parent:
        weights = join_weights(parent.weights, weights, share=config.base_share(phase))
    return {**name, "start": start, "weights": weights}
