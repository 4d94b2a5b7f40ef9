"""Walks the stages of a recipe in order, from its sources to a verified bundle.

Reads conf/stages.yaml and, in the run's folder, what the stages leave there; writes `journal.jsonl` there. A stage
whose artifact is there and verifies finds it and ends at once, so that a run can be repeated and interrupted anywhere.
"""

import fcntl
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.arguments import take
from core.artifact import current
from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.errors import DeterministicError, RetryError
from core.journal import Journal
from core.stages import Stage, stages_of
from launch import strike
from launch.check import absolute, check
from launch.config import LaunchConfig, Starter
from launch.local import sweep
from launch.stages import RANKED
from launch.starters import command_of, environment_of
from launch.supervise import Job, supervise
from launch.table import Row, closing, failed


def main(arguments: list[str]) -> None:
    """Verb `run`: make everything that a recipe describes, and print the closing table.

    With `--dry-run` check the recipe and write the command of every stage instead.
    """
    options, rest = take(arguments, flags=("--dry-run",))
    named, overrides = recipe_and_overrides(rest, "python -m launch run")
    recipe = absolute(named)
    stages = stages_of(recipe, overrides)
    if options:
        _, config = check(recipe, overrides, stages=stages, root=ROOT)
        for stage in stages:
            sys.stdout.write(f"{shlex.join(job_of(stage, recipe, overrides, config).command)}\n")
        return
    conclude(walk(recipe, overrides, stages=stages, root=ROOT))


def walk(recipe: str, overrides: Sequence[str], *, stages: list[Stage], root: Path) -> list[Row]:
    """Check the recipe, then run the stages, whose folders lie in `root`, in order.

    Raises the error of the first stage that fails.
    """
    run, config = check(recipe, overrides, stages=stages, root=root)
    out = run.out_folder.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with alone(out):
        journal = Journal(out / "journal.jsonl", is_speaking=False)
        swept = sweep(out)
        if swept:
            journal.record("processes.swept", pids=swept)
        rows = []
        for number, stage in enumerate(stages, start=1):
            sys.stderr.write(f"[{number}/{len(stages)}] {stage.name}\n")
            job = job_of(stage, recipe, overrides, config)
            outcome = supervise(job, root=root, out=out, config=config, journal=journal)
            seconds = outcome.seconds if outcome.is_made else None
            rows.append(Row(stage=stage.name, artifact=current(out, stage.name), seconds=seconds))
    return rows


def conclude(rows: Sequence[Row]) -> None:
    """Print the closing table. Raises DeterministicError, after it, if a check did not go as it should."""
    artifacts = {row.stage: row.artifact for row in rows}
    survived = strike.read(artifacts[RANKED].folder) if RANKED in artifacts else None
    sys.stdout.write(closing(rows, survived=survived))
    sys.stdout.flush()
    bad = failed(artifacts["verify"].facts["verdicts"])
    if bad:
        raise DeterministicError(f"the bundle is made but not all of it is verified: {', '.join(bad)}")


def job_of(stage: Stage, recipe: str, overrides: Sequence[str], config: LaunchConfig) -> Job:
    """A stage as a command: one process, or the ranks that train."""
    arguments = [stage.folder, stage.verb, recipe, *overrides]
    if stage.name == RANKED:
        return Job(
            stage=stage.name,
            command=command_of(config, arguments),
            ranks=config.ranks,
            is_elsewhere=config.starter is Starter.SRUN,
            environment=environment_of(config),
        )
    return Job(stage=stage.name, command=[sys.executable, "-m", *arguments])


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold a run's folder: raises RetryError if another launch works in it."""
    with (out / ".launch.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RetryError(f"another launch works in {out}; wait for it, or give this one its own run.out") from error
        yield
