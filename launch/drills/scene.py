"""A run under keepers as a drill sees it: started as a user would, and watched through its journals and /proc."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from core.codetree import ROOT
from core.notes import DIE_WITH_PARENT
from launch.drills.machines import OUTSIDE, Machine

Event = dict[str, Any]
POLL_S = 0.02
STEPPED = "step.finished"


@dataclass(slots=True)
class Tail:
    """A journal that is being written, of which each line is read once."""

    pattern: str
    events: list[Event] = field(default_factory=list)
    _stream: Any = None
    _rest: bytes = b""

    def read(self, folder: Path) -> None:
        """Take in what was added; the file is found when it is there, and then followed whatever becomes its name."""
        if self._stream is None:
            found = next(iter(folder.glob(self.pattern)), None)
            if found is None:
                return
            self._stream = found.open("rb")
        *lines, self._rest = (self._rest + self._stream.read()).split(b"\n")
        for line in lines:
            with suppress(ValueError):
                self.events.append(json.loads(line))


@dataclass(frozen=True, slots=True)
class Target:
    """A rank that trains."""

    node: str
    rank: int
    pid: int
    keeper: int


class Scene:
    """One run, `arguments` being those of `launch supervise`, in its folder `out`; without `machines` on this one."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        out: Path,
        box: Path,
        sensors: Path,
        log: Path,
        machines: Sequence[Machine] = (),
    ) -> None:
        self.out, self.box, self.sensors = out, box, sensors
        self.machines = {one.name: one for one in machines}
        self._arguments, self._log = arguments, log
        self._coordinator, self._rank = Tail("keeper/journal.jsonl"), Tail(".train-*.part/witness/journal-rank0.jsonl")
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.is_disk_small = False

    def start(self) -> None:
        """Start the run, or start it again."""
        self.starts += 1
        prefix = self.machines[OUTSIDE].prefix if self.machines else []
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "launch", "supervise", *self._arguments],
                cwd=ROOT,
                env={**os.environ, DIE_WITH_PARENT: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    def stop(self) -> None:
        """Kill what is left of it."""
        if self.process:
            below = descendants(self.process.pid)
            self.process.kill()
            self.process.wait()
            for pid in below:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def look(self) -> None:
        """Take in what the journals say."""
        self._coordinator.read(self.out)
        self._rank.read(self.out)

    @property
    def exit_code(self) -> int | None:
        """How it has ended; None while it runs."""
        assert self.process
        return self.process.poll()

    def wait(self, is_so: Callable[[], Any], *, seconds: float, is_end_awaited: bool = False) -> bool:
        """Wait until something is so, the run has ended, or the time is over; returns whether it is so."""
        deadline = time.monotonic() + seconds
        while True:
            self.look()
            if is_so():
                return True
            is_over = not is_end_awaited and self.exit_code is not None
            if is_over or time.monotonic() > deadline:
                self.look()
                return bool(is_so())
            time.sleep(POLL_S)

    def status(self) -> dict[str, Any]:
        """What the coordinator says of who is where."""
        with suppress(FileNotFoundError, ValueError):
            told: dict[str, Any] = json.loads((self.out / "keeper" / "status.json").read_text())
            return told
        return {"generation": 0, "step": 0, "nodes": {}}

    def told(self, *names: str, since: float = 0.0) -> list[Event]:
        """The coordinator's events."""
        return _since(self._coordinator.events, names, since)

    def said(self, *names: str, since: float = 0.0) -> list[Event]:
        """The first rank's events."""
        return _since(self._rank.events, names, since)

    @property
    def generation(self) -> int:
        """The newest one that has begun."""
        events = reversed(self._coordinator.events)
        return next((int(one["generation"]) for one in events if one["event"] == "generation.began"), 0)

    def new_step(self, *, after_generation: int, since: float = 0.0) -> Event | None:
        """The first step that a later generation has computed."""
        found = None
        for one in reversed(self._rank.events):
            if one["generation"] <= after_generation or one["time"] < since:
                break
            if one["event"] == STEPPED and one["compute_seconds"] > 0:
                found = one
        return found

    def is_training(self) -> bool:
        """Whether the newest generation has computed a step and its ranks are known."""
        newest = self.generation
        return bool(newest and self.new_step(after_generation=newest - 1) and self.targets())

    def targets(self) -> list[Target]:
        """The ranks that train, as far as they are what they are said to be."""
        status = self.status()
        if status["generation"] != self.generation:
            return []
        found = [
            Target(name, int(rank), one["pid"], node["keeper"])
            for name, node in status["nodes"].items()
            if node["is_training"]
            for rank, one in node["ranks"].items()
        ]
        return [one for one in found if one.pid and parent(parent(one.pid)) == one.keeper]

    def nodes(self, *, is_training: bool) -> dict[str, int]:
        """The keepers of nodes that are ready, at work or idle, by name."""
        return {
            name: node["keeper"]
            for name, node in self.status()["nodes"].items()
            if node["is_training"] == is_training and node["state"] == "ready"
        }

    @property
    def step(self) -> int:
        """The last step that was finished."""
        return next((int(one["step"]) for one in reversed(self._rank.events) if one["event"] == STEPPED), 0)

    def coordinator(self) -> int:
        """Its process id, or 0."""
        assert self.process
        found = [pid for pid in children(self.process.pid) if b"coordinate" in command(pid)]
        return found[0] if found else 0


def _since(events: Sequence[Event], names: Sequence[str], time: float) -> list[Event]:
    return [one for one in takewhile(lambda one: one["time"] >= time, reversed(events)) if one["event"] in names][::-1]


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """All processes below a process, the nearest first."""
    found = children(pid)
    for one in found:
        found += [below for below in children(one) if below not in found]
    return found


def parent(pid: int) -> int:
    """The process that has started one; 0 if it is gone."""
    try:
        # After the command in brackets, which may hold anything, come the state and the parent (proc_pid_stat(5)).
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def command(pid: int) -> bytes:
    """A process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
