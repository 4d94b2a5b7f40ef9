"""A Weights & Biases run on a hub, sent by a process of its own: training never waits for it and never fails by it.

Training writes its numbers into a pipe that does not block. What finds no room there is left out of the view, and if
the process ends before its time, its reason is in the witness folder and training goes on. The hub and the key are
those that wandb finds (WANDB_BASE_URL, WANDB_API_KEY, ~/.netrc); nothing comes back from there. Verb `send-wandb` is
that process. Free of torch.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.codetree import ROOT
from core.errors import ConfigError
from core.journal import Journal
from core.notes import FOLDER, die_with_parent
from train.config import WandbMode
from train.recipe import Recipe
from train.wandb_view import WandbView, open_run, told

if TYPE_CHECKING:
    from train.heldout import Scores
    from train.step import Numbers

LOG = "wandb-online.log"
# A finished run waits so long for what the hub has not taken yet: well below what ranks wait for each other.
FINISH_S = 20.0
LOWEST_NICE = 19


def open_view(recipe: Recipe, witness: Path, *, journal: Journal) -> "WandbView | OnlineView | None":
    """The view that the recipe asks for, if any."""
    name, facts = recipe.run.name, recipe.facts
    if recipe.train.wandb is WandbMode.OFFLINE:
        return WandbView(witness, name=name, facts=facts)
    if recipe.train.wandb is WandbMode.ONLINE:
        return OnlineView(witness, name=name, facts=facts, journal=journal)
    return None


class LinePipe:
    """The writing end of a pipe that never blocks: a line finds room, at least for its beginning, or is left out."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._rest = b""
        self.left_out = 0

    def send(self, message: dict[str, Any]) -> None:
        """Write a message as a line of JSON. Raises BrokenPipeError if nobody reads any more."""
        self._rest = self._write(self._rest)
        line = json.dumps(message).encode() + b"\n"
        left = line if self._rest else self._write(line)
        if left == line:
            self.left_out += 1
        else:
            # Whatever of a line is in the pipe must be followed by the rest of it.
            self._rest = left

    def _write(self, content: bytes) -> bytes:
        """Write as much as there is room for; returns the rest."""
        try:
            return content[os.write(self._descriptor, content) :] if content else b""
        except BlockingIOError:
            return content


class OnlineView:
    """The sending process, as the run sees it. `finish_s`: how long `finish` waits for it, in seconds."""

    def __init__(
        self, witness: Path, *, name: str, facts: dict[str, Any], journal: Journal, finish_s: float = FINISH_S
    ) -> None:
        # Without the folder of notes: what this process leaves there would stand for the rank that started it.
        environment = {key: value for key, value in os.environ.items() if key != FOLDER}
        command = [sys.executable, "-m", "train", "send-wandb", str(witness.resolve())]
        with (witness / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log, bufsize=0
            )
        assert self._process.stdin
        self._pipe = LinePipe(self._process.stdin.fileno())
        self._journal, self._finish_s, self._is_gone = journal, finish_s, False
        self._send({"name": name, "facts": facts})

    def log(self, step: int, *, numbers: "Numbers", scores: "Scores | None") -> None:
        """Hand over a step's numbers, and its scores on held-out text if it has any; does not wait."""
        self._send({"step": step, "told": told(numbers, scores)})

    def finish(self) -> None:
        """Let the process send what is left, and end it if that takes too long."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            code = self._process.wait(self._finish_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code or self._pipe.left_out:
            self._journal.event("wandb.lost", exit_code=code, steps_left_out=self._pipe.left_out, log=LOG)

    def _send(self, message: dict[str, Any]) -> None:
        if self._is_gone:
            return
        try:
            self._pipe.send(message)
        except BrokenPipeError:
            # `finish` says so.
            self._is_gone = True


def main(arguments: Sequence[str]) -> None:
    """`WITNESS`: read a run's name and facts, then its steps, a line of JSON each, and send them."""
    if len(arguments) != 1:
        raise ConfigError(
            "python -m train send-wandb takes the witness folder; a run with train.wandb=online starts it"
        )
    die_with_parent()
    os.nice(LOWEST_NICE)
    named = json.loads(sys.stdin.readline())
    run = open_run(Path(arguments[0]), mode="online", **named)
    for line in sys.stdin:
        message = json.loads(line)
        run.log(message["told"], step=message["step"])
    run.finish()
