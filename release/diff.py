"""Verb diff: whether two runs are the same, or where they first differ: step, field, tensor.

Each side is a runs folder, a training artifact, a bundle, or a ledger. Exit code 0 if the trajectories are equal (what
made them may differ, and is said), 1 if they differ.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.arguments import Parser
from core.artifact import current
from core.errors import ConfigError
from core.ledger import Difference, Line, first_difference, read_lines, trajectory_head
from release.weights import first_different_tensor

LEDGER = "ledger.jsonl"
DIFFERENT = 1


@dataclass(frozen=True, slots=True)
class Run:
    """A ledger's lines, genesis first, and the folder of its checkpoints, if there is one."""

    lines: list[Line]
    checkpoints: Path


def main(arguments: list[str]) -> None:
    """Run the verb: write what is equal or the first difference; ends with exit code 1 if the runs differ."""
    parser = Parser("python -m release diff A B")
    parser.add_argument("left", type=Path)
    parser.add_argument("right", type=Path)
    given = parser.parse_args(arguments)
    left, right = open_run(given.left), open_run(given.right)
    different = list(differences(left, right))
    if different:
        sys.stdout.write("".join(f"{said}\n" for said in different))
        raise SystemExit(DIFFERENT)
    sys.stdout.write(f"equal: {len(left.lines) - 1} steps, trajectory head {trajectory_head(left.lines[1:])}\n")
    made_otherwise = origin_difference(left.lines[0], right.lines[0])
    if made_otherwise:
        sys.stdout.write(f"made from other things, so the full heads differ: {made_otherwise}\n")


def open_run(path: Path) -> Run:
    """A run from any of the forms that it may have. Raises ConfigError if it is none of them, DataError if damaged."""
    if path.is_file():
        return Run(_read(path), path.parent / "checkpoints")
    for ledger in (path / LEDGER, path / "logs" / LEDGER):
        if ledger.is_file():
            return Run(_read(ledger), path / "checkpoints")
    if (path / "train.json").is_file():
        folder = current(path, "train").folder
        return Run(_read(folder / LEDGER), folder / "checkpoints")
    raise ConfigError(f"{path} is no runs folder, training artifact, bundle or ledger; name one of them")


def differences(left: Run, right: Run) -> Iterator[str]:
    """The first differing line of the ledgers and the first differing tensor of their common checkpoints."""
    difference = first_difference(left.lines[1:], right.lines[1:])
    if difference:
        yield say(difference)
    tensor = checkpoint_difference(left.checkpoints, right.checkpoints)
    if tensor:
        yield tensor


def checkpoint_difference(left: Path, right: Path) -> str:
    """The first tensor that differs, in the first checkpoint that both have and that differs; or an empty string."""
    for folder in sorted(left.glob("step-*")):
        other = right / folder.name
        for name in ("model.safetensors", "optimizer.safetensors"):
            if (folder / name).is_file() and (other / name).is_file():
                said = first_different_tensor(folder / name, other / name)
                if said:
                    return f"{folder.name}/{name}: {said}"
    return ""


def origin_difference(left: Line, right: Line) -> str:
    """The fields of the first line in which two ledgers differ, with their values."""
    names = [name for name in ("code", "config", "data", "profile") if left.get(name) != right.get(name)]
    return ", ".join(f"{name} {left.get(name)} against {right.get(name)}" for name in names)


def say(difference: Difference) -> str:
    """A difference with hex floats in decimal too."""
    left, right = _decimal(difference.left), _decimal(difference.right)
    return f"first difference: step {difference.step}, field {difference.field}: {left} against {right}"


def _decimal(value: Any) -> str:
    if isinstance(value, str) and value.lstrip("-").startswith("0x"):
        return f"{value} ({float.fromhex(value):.9g})"
    return str(value)


def _read(ledger: Path) -> list[Line]:
    lines = read_lines(ledger, is_torn_allowed=True)
    if not lines:
        raise ConfigError(f"{ledger} is empty; name a ledger that has begun")
    return lines
