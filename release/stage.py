"""Runs the verbs of the stages as processes, in a given folder of code."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigError, DataError, RetryError
from core.notes import DIE_WITH_PARENT, FOLDER, read_notes
from core.stages import sections_of
from release.sandbox import confine, environment
from release.verdict import InconclusiveError


@dataclass(frozen=True, slots=True)
class Ended:
    """How a verb ended: its exit code, what it wrote to standard output, and the line that said why it failed."""

    exit_code: int
    output: str
    message: str


def run_verb(
    code: Path, folder: str, verb: str, *arguments: object, ranks: int = 1, writable: Path | None = None
) -> Ended:
    """Run `python -m FOLDER VERB ARGUMENTS` in a folder of code; its progress goes to standard error as it comes.

    It is confined (sandbox.py), and may write below `writable` only. With more than one rank, under torchrun: the exit
    code is then that of the first rank that told one.
    """
    agent = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    # Behind --, since the agent takes a verb's options for beginnings of its own.
    command = [sys.executable, *agent, "-m", *(["--"] if agent else []), folder, verb, *map(str, arguments)]
    with tempfile.TemporaryDirectory(prefix="wholegrain-notes-") as notes:
        asked = {FOLDER: notes, DIE_WITH_PARENT: str(os.getpid()), "PYTHONDONTWRITEBYTECODE": "1"}
        folders = [Path(notes), *([writable] if writable else [])]
        done = subprocess.run(
            command,
            cwd=code,
            env={**environment(os.environ, Path(notes)), **asked},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=lambda: confine(*folders),
        )
        told = read_notes(Path(notes), "exit").values()
        note = next((one for one in told if one["exit_code"]), {}) if done.returncode else {}
    return Ended(
        note.get("exit_code", done.returncode),
        done.stdout,
        note.get("message", f"ended with exit code {done.returncode}"),
    )


def ask(code: Path, folder: str, verb: str, *arguments: object, ranks: int = 1, writable: Path | None = None) -> str:
    """Run a verb that answers on standard output, and return the answer.

    Raises DataError if it refuses data or fails for good, RetryError if it was killed or asks to be tried again, and
    InconclusiveError if this machine or installation does not suit, or if it crashed.
    """
    ended = run_verb(code, folder, verb, *arguments, ranks=ranks, writable=writable)
    said = f"python -m {folder} {verb}: {ended.message}"
    match ended.exit_code:
        case 0:
            return ended.output
        case 65 | 66:
            raise DataError(said)
        case 1 | 2 | 64:
            raise InconclusiveError(said)
        case _:
            raise RetryError(f"{said}; try again")


def ask_fingerprint(code: Path, recipe: str | Path, *overrides: str) -> dict[str, Any]:
    """The fingerprint of the recipe's numerics profile on this machine."""
    try:
        is_trained = "train" in sections_of(str(recipe), overrides)
    except ConfigError as error:
        raise InconclusiveError(str(error)) from error
    answer = ask(code, "train" if is_trained else "posttrain", "fingerprint", recipe, *overrides)
    fingerprint: dict[str, Any] = json.loads(answer.strip().splitlines()[-1])
    return fingerprint


def read_stages(path: Path) -> dict[str, dict[str, Any]]:
    """The stages in order: the folder and verb that make each, and its inputs. Raises ConfigError if unreadable."""
    try:
        stages: dict[str, dict[str, Any]] = yaml.safe_load(path.read_bytes())
        return {name: {"folder": s["folder"], "verb": s["verb"], "inputs": s["inputs"]} for name, s in stages.items()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no table of stages: {error}") from error


def first_value(left: Any, right: Any, *, at: str = "") -> str:
    """Where two JSON values first differ, as `place: one against other`; an empty string if they are equal."""
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted(left.keys() | right.keys()):
            said = first_value(left.get(name), right.get(name), at=f"{at}.{name}" if at else name)
            if said:
                return said
        return ""
    return "" if left == right else f"{at}: {left} against {right}"
