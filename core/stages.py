"""The pipeline's stages, read from conf/stages.yaml, and which of them a recipe asks for.

A stage with a `section` is there only if the recipe has that section. Of a stage's inputs those that are not there are
left out, and `weights` stands for the last stage before it that `makes: weights`: so what follows the training takes
the trained model, the merged or the quantized one, whichever comes last.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import STAGES, resolve
from core.errors import ConfigError

WEIGHTS = "weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage: `python -m FOLDER VERB` makes the artifact NAME of the artifacts of other stages."""

    name: str
    folder: str
    verb: str
    inputs: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As a bundle's config/stages.yaml states it."""
        return {"folder": self.folder, "verb": self.verb, "inputs": list(self.inputs)}


def stages_of(recipe: str, overrides: Sequence[str] = (), *, path: Path = STAGES) -> list[Stage]:
    """The stages that a recipe asks for, in the order in which they run."""
    return read_stages(path, sections=sections_of(recipe, overrides))


def sections_of(recipe: str, overrides: Sequence[str] = ()) -> set[str]:
    """The sections that a recipe has; an empty one counts as none."""
    return {name for name, section in resolve(recipe, overrides).items() if section is not None}


def inputs_of(stage: str, recipe: str, overrides: Sequence[str] = ()) -> tuple[str, ...]:
    """The stages whose artifacts a stage takes, for a recipe."""
    return next(one.inputs for one in stages_of(recipe, overrides) if one.name == stage)


def weights_stage(inputs: Collection[str]) -> str:
    """Of the inputs of a stage that takes a model, the one that made it: the last by conf/stages.yaml."""
    return next(name for name in reversed(makers()) if name in inputs)


def makers(path: Path = STAGES) -> list[str]:
    """The stages that make weights, in order."""
    return [name for name, facts in _read(path).items() if facts.get("makes") == WEIGHTS]


def read_stages(path: Path = STAGES, *, sections: Collection[str] | None = None) -> list[Stage]:
    """The stages in the order in which they run: all, or those for which a recipe with these sections asks.

    Raises ConfigError if one needs another that does not come before, or if nothing makes the weights it needs.
    """
    stages: list[Stage] = []
    known: set[str] = set()
    weights = ""
    for name, facts in _read(path).items():
        known.add(name)
        if sections is not None and facts.get("section") not in (None, *sections):
            continue
        missing = sorted(set(facts["inputs"]) - known - {WEIGHTS})
        if missing:
            raise ConfigError(f"{path}: stage {name} needs {', '.join(missing)}, which does not come before it")
        if WEIGHTS in facts["inputs"] and not weights:
            raise ConfigError(
                f"stage {name} needs weights, and nothing makes any; give the recipe a section train or merge"
            )
        present = {stage.name for stage in stages}
        wanted = (weights if one == WEIGHTS else one for one in facts["inputs"])
        inputs = tuple(one for one in wanted if one in present)
        stages.append(Stage(name=name, folder=facts["folder"], verb=facts["verb"], inputs=inputs))
        weights = name if facts.get("makes") == WEIGHTS else weights
    return stages


def _read(path: Path) -> dict[str, dict[str, Any]]:
    import yaml

    described: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return described
