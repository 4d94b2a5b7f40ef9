"""Runs one stage until it is done: watches its processes, and starts a new generation where one has failed."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.artifact import current
from core.journal import Journal
from launch import strike
from launch.config import LaunchConfig
from launch.decide import Action, End, decide, error_of
from launch.local import POLL_S, Generation, started


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A stage as processes: its command, and how many ranks the command starts as an agent (0: it works itself).

    `is_elsewhere` says that the ranks need not be on this machine.
    """

    stage: str
    command: Sequence[str]
    ranks: int = 0
    is_elsewhere: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a stage that is done was done; `is_made` is False if its artifact was found."""

    seconds: float
    is_made: bool


def supervise(job: Job, *, root: Path, out: Path, config: LaunchConfig, journal: Journal) -> Outcome:
    """Run a stage's command in `root` until it is done; its artifacts lie in `out`.

    Raises the ProjectError of the exit code that the stage ended with, once it is of no use to try again.
    """
    began = time.monotonic()
    best_step = idle_restarts = 0
    is_made = False
    while True:
        end, step, has_worked = run_generation(job, root=root, out=out, config=config, journal=journal)
        is_made = is_made or has_worked
        idle_restarts = 0 if step > best_step else idle_restarts
        best_step = max(step, best_step)
        decision = decide(
            end,
            idle_restarts=idle_restarts,
            max_idle_restarts=config.max_restarts_without_progress,
            backoff_s=config.backoff_s,
        )
        journal.record(
            "generation.ended", stage=job.stage, action=decision.action.value, reason=decision.reason, step=step
        )
        if decision.action is Action.FINISH:
            return Outcome(seconds=time.monotonic() - began, is_made=is_made)
        if decision.action is not Action.RESTART:
            raise error_of(decision.exit_code, f"stage {job.stage}: {decision.reason}")
        waiting = f"waiting {decision.wait_s:g} s, then " if decision.wait_s else ""
        speak(f"{job.stage}: {decision.reason}; {waiting}starting it again, from what is committed")
        time.sleep(decision.wait_s)
        idle_restarts += 1


def run_generation(job: Job, *, root: Path, out: Path, config: LaunchConfig, journal: Journal) -> tuple[End, int, bool]:
    """Start a stage's processes once; returns how they ended, the last step made, and whether anything was made."""
    with started(
        job.command,
        stage=job.stage,
        environment=job.environment,
        root=root,
        out=out,
        ranks=job.ranks,
        is_elsewhere=job.is_elsewhere,
        grace_s=config.stop_grace_s,
    ) as generation:
        end = watch(generation, job, config=config, journal=journal)
        if end.exit_code == 0 and config.is_drill and job.ranks:
            _complete(current(out, job.stage).folder, generation, journal)
        step = max((beat["step"] for beat in generation.beats().values()), default=0)
        return end, step, generation.work() is not None


def watch(generation: Generation, job: Job, *, config: LaunchConfig, journal: Journal) -> End:
    """Wait until a generation has ended or failed; meanwhile the drill may strike."""
    while (end := generation.end(start_s=config.start_s, stall_s=config.stall_s)) is None:
        if config.is_drill and job.ranks:
            struck = strike.strike(generation, config)
            if struck:
                journal.record("drill.struck", rank=struck.rank, step=struck.killed_at_step)
                speak(
                    f"drill: killed rank {struck.rank} with SIGKILL after step {struck.killed_at_step}, as "
                    "launch.kill_rank and launch.kill_at_step ask"
                )
            work = generation.work()
            if work:
                _complete(work, generation, journal)
        time.sleep(POLL_S)
    return end


def _complete(folder: Path, generation: Generation, journal: Journal) -> None:
    survived = strike.complete(folder, generation.beats().values())
    if survived:
        journal.record("drill.survived", resumed_from=survived.resumed_from, seconds=survived.seconds)
        speak(f"drill: {survived}")


def speak(text: str) -> None:
    """One line for the person at the terminal, on a line of its own behind a progress bar."""
    sys.stderr.write(("\n" if sys.stderr.isatty() else "") + text + "\n")
    sys.stderr.flush()
