"""Stages without a model, as real processes: `python -m fake VERB`, to see what the launcher does with them.

The launcher meets stages only as processes and files, so these are as good as real ones, and quick: ranks that make
steps by waiting, commit every second step, and fail where the recipe's section `train` asks for it. `agent` starts
ranks as torchrun does: each in a session of its own, and with patience when one has died.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.artifact import build, current, plan
from core.cli import Verb, main, recipe_and_overrides
from core.config import RunConfig, identity, load, placement
from core.durable import write_durably
from core.errors import ConfigError, DataError, DeterministicError, RetryError
from core.notes import FOLDER, leave_beat, read_notes

ERRORS: dict[str, Callable[[str], Exception]] = {
    "64": ConfigError,
    "65": DeterministicError,
    "66": DataError,
    "75": RetryError,
    "bug": ValueError,
}


@dataclass(kw_only=True, slots=True)
class FakeConfig:
    """Section `train` of the fake stages."""

    steps: int
    pace_s: float = placement(0.01)
    # Before this step, or before stage one's work if it is 0, a stage waits as long as there is a file `hold`.
    hold_at: int = placement(-1)
    # The rank that fails, in which step (or so many steps after it was started), how, and how often;
    # `how` is kill, hang or a name in ERRORS.
    rank: int = placement(-1)
    step: int = placement(0)
    every: int = placement(0)
    how: str = placement("")
    times: int = placement(1)


def one(arguments: list[str]) -> None:
    """A stage of one process that takes `pace_s` to make its artifact."""
    run, config = _sections(arguments)

    def write(aside: Path) -> dict[str, Any]:
        _hold(config, 0)
        time.sleep(config.pace_s)
        (aside / "one.txt").write_text("one\n")
        return {"came_in": "nothing", "went_out": "one file"}

    _make("one", run, config, write, inputs=[])


def train(arguments: list[str]) -> None:
    """A rank: rank 0 makes the artifact and commits every second step; every rank leaves its beats."""
    run, config = _sections(arguments)
    rank = int(os.environ["RANK"])
    key = plan("train", folder="core", out=run.out_folder, config=identity(config), inputs={})
    if rank:
        if not key.final.exists():
            _steps(key.aside, run, config, rank=rank)
        return

    def write(aside: Path) -> dict[str, Any]:
        _steps(aside, run, config, rank=rank)
        return {"came_in": "batches", "went_out": "weights"}

    _make("train", run, config, write, inputs=[], is_resumable=True)


def bundle(arguments: list[str]) -> None:
    """A bundle with the facts that the closing table shows."""
    run, config = _sections(arguments)
    heads = {"root": "r" * 64, "trajectory_head": "t" * 64, "full_head": "f" * 64}

    def write(aside: Path) -> dict[str, Any]:
        (aside / "tiny").mkdir()
        (aside / "tiny" / "MANIFEST.md").write_text("all of it\n")
        return {"came_in": "all", "went_out": "a bundle", "bundle": "tiny", **heads}

    _make("bundle", run, config, write, inputs=["one", "train"])


def verify(arguments: list[str]) -> None:
    """Verdicts: all PASS, unless the recipe's `train.how` is `verdict`."""
    run, config = _sections(arguments)
    verdict = "FAIL" if config.how == "verdict" else "PASS"

    def write(_aside: Path) -> dict[str, Any]:
        verdicts = [{"check": "integrity", "verdict": verdict, "detail": "1 file"}]
        return {"came_in": "a bundle", "went_out": "one verdict", "verdicts": verdicts}

    _make("verify", run, config, write, inputs=["bundle"])


def check(arguments: list[str]) -> None:
    """Check the section of the fake stages."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m fake check")
    load(recipe, "train", FakeConfig, overrides)


def agent(arguments: list[str]) -> None:
    """Start ARGUMENTS[0] ranks; when one has died ask the others to stop and wait for them, as torchrun does."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "fake", "train", *arguments[1:]],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": arguments[0]},
            start_new_session=True,
        )
        for rank in range(int(arguments[0]))
    ]
    # torchrun leaves no notes, and this must not write over those of rank 0.
    del os.environ[FOLDER]
    while any(process.poll() is None for process in ranks):
        if any(process.poll() for process in ranks):
            for process in ranks:
                process.terminate()
            for process in ranks:
                process.wait(30)
        time.sleep(0.1)
    if any(process.returncode for process in ranks):
        raise ValueError("a rank has failed")


def launch(arguments: list[str]) -> None:
    """What `python -m launch run` does, over the stages of this house."""
    from launch.pipeline import conclude, walk
    from launch.stages import read_stages

    recipe, overrides = recipe_and_overrides(arguments, "python -m fake launch")
    conclude(walk(recipe, overrides, stages=read_stages(Path("stages.yaml")), root=Path.cwd()))


def supervised(arguments: list[str]) -> None:
    """The ranks alone, under `agent` and the launcher's supervisor."""
    from core.journal import Journal
    from launch.config import LaunchConfig
    from launch.supervise import Job, supervise

    recipe, overrides = recipe_and_overrides(arguments, "python -m fake supervised")
    out = load(recipe, "run", RunConfig, overrides).out_folder
    config = load(recipe, "launch", LaunchConfig, overrides)
    command = [sys.executable, "-m", "fake", "agent", str(config.ranks), recipe, *overrides]
    out.mkdir(parents=True, exist_ok=True)
    journal = Journal(out / "journal.jsonl", is_speaking=False)
    job = Job(stage="train", command=command, ranks=config.ranks)
    outcome = supervise(job, root=Path.cwd(), out=out, config=config, journal=journal)
    sys.stdout.write("made\n" if outcome.is_made else "found\n")


def _sections(arguments: list[str]) -> tuple[RunConfig, FakeConfig]:
    # Read without hydra, whose import would take longer than all else that these processes do.
    recipe, overrides = recipe_and_overrides(arguments, "python -m fake VERB")
    whole = yaml.safe_load(Path(recipe).read_text())
    for override in overrides:
        name, _, value = override.partition("=")
        section, _, key = name.partition(".")
        whole[section][key] = yaml.safe_load(value)
    return RunConfig(name="fake", out=Path(whole["run"]["out"])), FakeConfig(**whole["train"])


def _make(
    stage: str,
    run: RunConfig,
    config: FakeConfig,
    write: Callable[[Path], dict[str, Any]],
    *,
    inputs: list[str],
    is_resumable: bool = False,
) -> None:
    found = {name: current(run.out_folder, name) for name in inputs}
    wanted = plan(stage, folder="core", out=run.out_folder, config=identity(config), inputs=found)
    sys.stdout.write(f"{build(wanted, write, is_resumable=is_resumable).folder}\n")


def _steps(aside: Path, run: RunConfig, config: FakeConfig, *, rank: int) -> None:
    committed = aside / "committed"
    first = int(committed.read_text()) if committed.exists() else 0
    for step in range(first + 1, config.steps + 1):
        _hold(config, step)
        time.sleep(config.pace_s)
        if rank == config.rank and step == (config.step or first + config.every):
            _fail(run.out_folder, config, step=step)
        if rank == 0 and step % 2 == 0:
            write_durably(committed, str(step).encode())
        leave_beat(step)
        _wait_for_peers(step)


def _hold(config: FakeConfig, step: int) -> None:
    while step == config.hold_at and Path("hold").exists():
        time.sleep(0.005)


def _wait_for_peers(step: int) -> None:
    # As in a collective operation: nobody goes on before all have come, and a dead peer is waited for in vain.
    world_size, notes = int(os.environ["WORLD_SIZE"]), Path(os.environ[FOLDER])
    while sum(beat["step"] >= step for beat in read_notes(notes, "beat").values()) < world_size:
        time.sleep(0.005)


def _fail(out: Path, config: FakeConfig, *, step: int) -> None:
    count = out / "faults.json"
    faults = json.loads(count.read_text()) if count.exists() else 0
    if faults >= config.times:
        return
    count.write_text(json.dumps(faults + 1))
    if config.how in ERRORS:
        raise ERRORS[config.how](f"as asked after step {step}")
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "hang": signal.SIGSTOP}[config.how])


if __name__ == "__main__":
    verbs = ("one", "train", "bundle", "verify", "check", "agent", "launch", "supervised")
    main("fake", {verb: Verb(f"fake.__main__:{verb}", "as in the tests") for verb in verbs})
