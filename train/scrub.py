"""Verb scrub: hash committed checkpoints again and again beside a run, at idle priority, to find damage early.

It is a process of its own, so that training never waits for it; it only looks, and says on standard output, as a line
of JSON each, what is damaged: {"step": 240, "fault": "..."}. The run that started it puts the checkpoint away
(records.py). It ends with that run, since then nobody holds its standard input any more. Free of torch.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.codetree import ROOT
from core.errors import ConfigError, DataError
from core.notes import FOLDER
from train.recovery import Candidate
from train.store import list_checkpoints, open_checkpoint

LOWEST_NICE = 19


def main(arguments: Sequence[str]) -> None:
    """`CHECKPOINTS PAUSE_S`: look at every checkpoint below a folder, pause, and look again, until the input ends."""
    if len(arguments) != 2 or not arguments[1].replace(".", "", 1).isdigit():
        raise ConfigError(f"python -m train scrub takes a folder and seconds, not {list(arguments)}")
    threading.Thread(target=_end_with_input, daemon=True).start()
    _give_way()
    told: set[int] = set()
    while True:
        for found in faults(Path(arguments[0])):
            if found.step not in told:
                told.add(found.step)
                sys.stdout.write(json.dumps({"step": found.step, "fault": found.fault}) + "\n")
                sys.stdout.flush()
        time.sleep(float(arguments[1]))


def faults(checkpoints: Path) -> Iterator[Candidate]:
    """The damaged ones among committed checkpoints, oldest first; one that is removed meanwhile is none."""
    for step, path in sorted(list_checkpoints(checkpoints).items()):
        try:
            open_checkpoint(path)
        except (DataError, OSError) as error:
            if path.exists():
                yield Candidate(step, str(error))


class Scrubber:
    """The process, as the run sees it."""

    def __init__(self, checkpoints: Path, *, pause_s: float) -> None:
        # Without the folder of notes: what this process leaves there would stand for the rank that started it.
        environment = {name: value for name, value in os.environ.items() if name != FOLDER}
        command = [sys.executable, "-m", "train", "scrub", str(checkpoints.resolve()), str(pause_s)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._text = b""

    def found(self) -> list[Candidate]:
        """What it has found since the last call; does not wait."""
        try:
            self._text += os.read(self._output, 1 << 16)
        except BlockingIOError:
            return []
        *lines, self._text = self._text.split(b"\n")
        return [Candidate(**json.loads(line)) for line in lines]

    def stop(self) -> None:
        """End the process."""
        self._process.communicate()


def _give_way() -> None:
    """Run only when nobody else wants the processor."""
    os.nice(LOWEST_NICE)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
