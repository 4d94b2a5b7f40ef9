"""Runs under keepers, as a user would start them: real processes on emulated nodes, real signals, the tiny recipe."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import faultbox
from core.codetree import ROOT
from core.hashing import hash_file
from core.journal import read_journal
from launch.drills.machines import Machine
from tests.launch.conftest import processes_with, wait_until
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, finished_folder
from train.run import main

DEADLINE_S = 300.0
HOLD = 1
STEPS = 12
SHAPE = (f"train.steps={STEPS}", "train.save_every_steps=4")
KEPT = (
    "launch.nodes=2",
    "launch.ranks_per_node=1",
    "launch.spares=1",
    "launch.base_every_steps=3",
    "launch.node_timeout_s=20",
)
# Time for a word to reach the ranks while a run is under way.
UNHURRIED = 'launch.faults=["sleep@rank=0,seconds=0.3"]'


@dataclass
class Kept:
    """A run under keepers that is under way, or over."""

    out: Path
    process: "subprocess.Popen[str]"
    arguments: Sequence[str] = ()
    stderr: str = ""
    _status: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where coordinator and keepers write."""
        return self.out / "keeper"

    def status(self) -> dict[str, Any]:
        """Who is where; the last that could be read."""
        path = self.folder / "status.json"
        if path.exists():
            self._status = json.loads(path.read_text())
        return self._status

    def training(self) -> dict[str, dict[str, Any]]:
        """The nodes that train."""
        return {name: node for name, node in self.status().get("nodes", {}).items() if node["is_training"]}

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of a name in the coordinator's journal."""
        return [line for line in read_journal(self.folder / "journal.jsonl") if line["event"] == name]

    @property
    def box(self) -> Path:
        """Where faults are laid while it is under way."""
        return _box(self.out)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it the run stands before the step it was to be held at, so what is done to it meets it there."""
        self.wait(lambda: faultbox.struck(self.box, HOLD), "the first rank is held")
        assert self.process.poll() is None, self.process.communicate()
        yield
        faultbox.disarm(self.box, HOLD)

    def wait(self, is_so: Any, what: str) -> None:
        """Wait for an event; the run's end is one too."""
        wait_until(lambda: is_so() or self.process.poll() is not None, what, deadline_s=DEADLINE_S)

    def finish(self, *, others: Sequence[str] = ()) -> int:
        """Wait for the end; returns the exit code, and sees that nobody is left but the keepers of `others`."""
        _, self.stderr = self.process.communicate(timeout=DEADLINE_S)
        left = {pid for node in others for pid in processes_with(f"--node={node}")}
        wait_until(lambda: not {*processes_with(str(self.out))} - left - _below(left), "every process has ended")
        return self.process.returncode

    def weights(self) -> str:
        """SHA-256 of the final weights."""
        return weights_of(self.out)

    def resumed(self) -> list[tuple[int, str]]:
        """From which step each later generation went on, and why."""
        folder = self.out if not (self.out / "train.json").exists() else finished_folder(self.out)
        (path,) = folder.rglob("journal-rank0.jsonl")
        return [(line["step"], line["why"]) for line in read_journal(path) if line["event"] == "run.resumed"]


def _below(pids: Collection[int]) -> set[int]:
    """All processes that descend from these."""
    found: set[int] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            children = {int(word) for word in words}
            found |= children | _below(children)
    return found


def weights_of(out: Path) -> str:
    """SHA-256 of a finished run's final weights."""
    folder = finished_folder(out)
    final = json.loads((folder / "artifact.json").read_bytes())["facts"]["final"]
    return hash_file(folder / final / "model.safetensors")


def _box(out: Path) -> Path:
    return out.with_name(f"{out.name}-box")


def _arguments(tiny: Tiny, out: Path, held_at: int, overrides: Sequence[str]) -> list[str]:
    box = _box(out)
    box.mkdir(exist_ok=True)
    if held_at:
        faultbox.arm(box, HOLD, f"hold@rank=0,step={held_at}")
    return [*tiny.arguments(out, *SHAPE), *KEPT, f"launch.fault_box='{box}'", *overrides]


def undisturbed(tiny: Tiny, out: Path, shape: Sequence[str]) -> str:
    """The final weights of a run on one rank, without a keeper."""
    ended = run_ranks(1, main, [tiny.arguments(out, *shape)], notes=out / "notes")
    assert ended.exit_codes == [0], ended.messages
    return weights_of(out)


@contextmanager
def joined_run(tiny: Tiny, out: Path, machines: Sequence[Machine], *overrides: str, held_at: int = 0) -> Iterator[Kept]:
    """A run whose keepers join from all machines but the last, on which the coordinator is."""
    *nodes, outside = machines
    arguments = _arguments(tiny, out, held_at, [f"launch.address={outside.address}", *overrides])
    log = (out.parent / f"{out.name}.log").open("w")
    joined = [
        subprocess.Popen(
            one.command([sys.executable, "-m", "launch", "join", *arguments, f"--node={one.name}"]),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        for one in nodes
    ]
    try:
        with supervised(arguments, out, on=outside) as run:
            yield run
    finally:
        for process in joined:
            process.kill()
            process.wait()
        log.close()


@contextmanager
def kept_run(tiny: Tiny, out: Path, *overrides: str, held_at: int = 0) -> Iterator[Kept]:
    """Start `python -m launch supervise` on the tiny recipe; whatever is left of it at the end is killed."""
    with supervised(_arguments(tiny, out, held_at, overrides), out) as run:
        yield run


@contextmanager
def supervised(arguments: Sequence[str], out: Path, *, on: Machine | None = None) -> Iterator[Kept]:
    """Start `python -m launch supervise`, here or on a machine; whatever is left at the end is killed."""
    command = [sys.executable, "-m", "launch", "supervise", *arguments]
    process = subprocess.Popen(
        on.command(command) if on else command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = Kept(out, process, arguments)
    try:
        yield run
    finally:
        process.kill()
        process.communicate()
        for pid in processes_with(str(out)):
            os.kill(pid, signal.SIGKILL)
