"""How far a run is, by its own word, and whether another attempt is worth it: for jobs that a scheduler starts again.

A scheduler counts restarts, or none at all: a job that queues itself again after every failure would do so for ever.
What counts here is progress: attempts since the last committed step, in `<run.out>/.attempts.json`, whoever made them.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.config import RunConfig, load
from core.durable import write_durably
from core.errors import DeterministicError
from core.journal import Journal
from launch.check import absolute
from launch.config import LaunchConfig
from launch.decide import error_of

RECORD = ".attempts.json"


@dataclass(frozen=True, slots=True)
class State:
    """What `python -m train status` says: the finished artifact's folder, or the newest committed step."""

    folder: str
    step: int

    def __str__(self) -> str:
        return f"finished {self.folder}" if self.folder else f"unfinished {self.step}"


@dataclass(frozen=True, slots=True)
class Attempts:
    """The step from which the last attempt went on, and how many before it had brought no progress."""

    step: int = -1
    idle: int = 0

    def with_another(self, step: int) -> "Attempts":
        """After one more attempt that goes on from a step."""
        return Attempts(step, 0 if step > self.step else self.idle + 1)


def main(arguments: list[str]) -> None:
    """Verb `attempt`: write `finished FOLDER`, or `unfinished STEP` and count one more attempt.

    Raises DeterministicError if too many attempts have brought no progress.
    """
    recipe, overrides = recipe_and_overrides(arguments, "python -m launch attempt")
    run = load(absolute(recipe), "run", RunConfig, overrides)
    config = load(absolute(recipe), "launch", LaunchConfig, overrides)
    state = state_of(recipe, overrides)
    count(run.out_folder, state, most=config.max_restarts_without_progress)
    sys.stdout.write(f"{state}\n")


def state_of(recipe: str, overrides: Sequence[str]) -> State:
    """Ask the stage how far it is. Raises its error if it cannot say."""
    command = [sys.executable, "-m", "train", "status", absolute(recipe), *overrides]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise error_of(asked.returncode, asked.stderr.strip().removeprefix("error: "))
    word, _, rest = asked.stdout.strip().partition(" ")
    return State(rest, -1) if word == "finished" else State("", int(rest))


def count(out: Path, state: State, *, most: int) -> None:
    """Count an attempt at a run that is not finished.

    Raises DeterministicError, and begins to count anew, when `most` attempts on end have brought no progress.
    """
    path = out / RECORD
    before = Attempts(**json.loads(path.read_bytes())) if path.exists() else Attempts()
    now = before.with_another(state.step)
    if state.folder or now.idle > most:
        path.unlink(missing_ok=True)
    if state.folder:
        return
    if now.idle > most:
        raise DeterministicError(
            f"{now.idle} attempts brought no progress after step {state.step}; read the words of the last one, mend "
            "what they name, and submit the job again"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps(asdict(now)).encode())
    note(out, "attempt.began", step=state.step)


def note(out: Path, event: str, **facts: Any) -> None:
    """Write into the run's journal what the account of its time (launch/goodput.py) goes by."""
    Journal(out / "journal.jsonl", is_speaking=False).record(event, **facts)
