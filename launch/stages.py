"""The pipeline's stages, read from conf/stages.yaml: this folder imports none of them."""

from dataclasses import dataclass
from pathlib import Path

from core.config import STAGES
from core.errors import ConfigError

# The stage that runs as several ranks.
RANKED = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage: `python -m FOLDER VERB` makes the artifact NAME of the artifacts of other stages."""

    name: str
    folder: str
    verb: str
    inputs: tuple[str, ...]


def read_stages(path: Path = STAGES) -> list[Stage]:
    """The stages in the order in which they run. Raises ConfigError if one needs another that does not come before."""
    import yaml

    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    stages: list[Stage] = []
    for name, facts in described.items():
        stage = Stage(name=name, folder=facts["folder"], verb=facts["verb"], inputs=tuple(facts["inputs"]))
        missing = sorted(set(stage.inputs) - {earlier.name for earlier in stages})
        if missing:
            raise ConfigError(f"{path}: stage {name} needs {', '.join(missing)}, which does not come before it")
        stages.append(stage)
    return stages


def folders(stages: list[Stage]) -> list[str]:
    """The folders that have stages, each once, in the order of their first stage."""
    return list(dict.fromkeys(stage.folder for stage in stages))
