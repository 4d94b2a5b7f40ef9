"""What every renderer takes: one job, and the pieces of text that jobs share."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigError, DataError, DeterministicError
from launch.config import LaunchConfig

HERE = Path(__file__).parent
# Would fail again on any node: stop. The launcher's notes hold them (core.notes), whatever the scheduler sees.
FATAL_CODES = (ConfigError.exit_code, DeterministicError.exit_code, DataError.exit_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A recipe to train on a cluster. `excluded` are the nodes in quarantine when the job was rendered."""

    name: str
    recipe: str
    overrides: Sequence[str]
    out: str
    config: LaunchConfig
    excluded: Sequence[str] = ()

    def __post_init__(self) -> None:
        strange = [text for text in (self.name, self.out) if not re.fullmatch(r"[\w./+-]+", text)]
        if strange:
            raise ConfigError(
                f"{strange[0]!r} (run.name or run.out) cannot stand in a job: give letters, digits and ._/+- only"
            )

    @property
    def arguments(self) -> list[str]:
        """RECIPE [key=value ...], as every verb takes it."""
        return [self.recipe, *self.overrides]

    @property
    def all_nodes(self) -> int:
        """Nodes that train, and spares."""
        return self.config.nodes + self.config.spares

    @property
    def is_kept(self) -> bool:
        """Whether keepers and a coordinator start the ranks (docs/recovery.md): of several nodes any may be lost."""
        return self.all_nodes > 1

    @property
    def environment(self) -> dict[str, str]:
        """What the configuration sets on every node."""
        return dict(sorted(self.config.cluster.environment.items()))


def script(header: str, *, variables: Mapping[str, str | int | Sequence[str]], bodies: Sequence[str]) -> str:
    """A bash script: its header, its variables, and the files beside this one that hold its code."""
    lines = [f"{name}={_quoted(value)}" for name, value in variables.items()]
    return "\n".join([header, "", *lines, "", *((HERE / body).read_text(encoding="utf-8") for body in bodies)])


def exports(environment: Mapping[str, str]) -> str:
    """Variables of the environment as lines of a script."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in environment.items())


def _quoted(value: str | int | Sequence[str]) -> str:
    if isinstance(value, str | int):
        return shlex.quote(str(value))
    return f"({' '.join(map(shlex.quote, value))})"
