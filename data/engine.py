"""Runs the tasks of a step: on this machine, on Slurm or on Ray, through datatrove's executors.

A step is a picklable dataclass of paths and configurations, of which task `n` is a pure function: so who runs it, when
and how often leaves no trace. A task fills a folder aside; with `done.json` in it, which holds the step, the identity
of the work and the SHA-256 of every file, it is renamed to `<folder>/<task:05d>`. Such a folder is recognized,
verified and kept by the next run; datatrove's own markers are not used, as they say nothing of the configuration.

Layout of a step's folder:
    00000, 00001, ...   results of tasks
    .00000-*.part       of a task that is being done, or of one that was killed
    .engine/            datatrove's logs and statistics, errors of tasks on other machines; placement
"""

import errno
import importlib
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, ClassVar

from core.artifact import list_files
from core.durable import commit_folder
from core.errors import RetryError
from core.hashing import canonical_json
from core.progress import Progress
from data.engineconfig import EngineConfig

# Below the folder in which an artifact is being written: results of tasks, which a later run goes on with.
WORK = ".work"
DONE = "done.json"
ENGINE = ".engine"
# Loaded only when there is work: datatrove takes 0.4 s to import.
EXECUTORS = "data.executors"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Step(ABC):
    """Work that is cut into tasks. Subclasses are dataclasses that can be pickled, in a module that can be imported."""

    name: ClassVar[str]

    @abstractmethod
    def run(self, task: int, out: Path) -> None:
        """Fill folder `out`: a pure function of the step's fields, the task's number and the files it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A step with all that its tasks need to be done anywhere; `folder` is absolute."""

    step: Step
    tasks: int
    folder: Path
    identity: str

    def place(self, task: int) -> Path:
        """The folder of a task's result."""
        return self.folder / f"{task:05d}"

    @property
    def engine_folder(self) -> Path:
        """Where logs, statistics and errors lie."""
        return self.folder / ENGINE

    def is_done(self, task: int) -> bool:
        """Whether a task's result is there, of this identity, and every file is what its hash says."""
        return self._marker(task) == self._seal(task)

    def is_marked(self, task: int) -> bool:
        """Whether a task's result is there and of this identity; the files are not read."""
        marker = self._marker(task)
        return marker is not None and {**marker, "files": []} == self._seal_of(task, [])

    def do(self, task: int) -> None:
        """Do a task, unless it is done: a job may be requeued. Raises what the step raises."""
        if self.is_done(task):
            return
        aside = Path(mkdtemp(prefix=f".{task:05d}-", suffix=".part", dir=self.folder))
        aside.chmod(0o755)
        with ExitStack() as at_end:
            at_end.callback(shutil.rmtree, aside, ignore_errors=True)
            self.step.run(task, aside)
            (aside / DONE).write_bytes(canonical_json(self._seal_of(task, list_files(aside))))
            self._commit(task, aside)

    def _commit(self, task: int, aside: Path) -> None:
        try:
            commit_folder(aside, self.place(task))
        except OSError:
            # A job that outlived its launcher may have been faster; its result is the same.
            if not self.is_done(task):
                raise

    def _marker(self, task: int) -> dict[str, Any] | None:
        try:
            marker = json.loads((self.place(task) / DONE).read_bytes())
        except (OSError, ValueError):
            return None
        return marker if isinstance(marker, dict) else None

    def _seal(self, task: int) -> dict[str, Any]:
        return self._seal_of(task, [entry for entry in list_files(self.place(task)) if entry["path"] != DONE])

    def _seal_of(self, task: int, files: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "step": self.step.name,
            "task": task,
            "tasks": self.tasks,
            "files": files,
        }


# Does tasks of a job and tells how many more are done. Raises the error of a task that fails.
Execute = Callable[[Job, list[int], EngineConfig, Callable[[int], None]], None]


def run_tasks(
    step: Step, *, tasks: int, folder: Path, identity: str, engine: EngineConfig, unit: str = "tasks"
) -> list[Path]:
    """Do tasks 0..tasks-1 of a step, those excepted that are done, and return the folder of each.

    `identity` is a hash of all that decides the results: what was done under another one is done again. Raises the
    ProjectError of a task that fails, from whichever machine; RetryError if a task's process is killed.
    """
    job = Job(step=step, tasks=tasks, folder=folder.absolute(), identity=identity)
    with minding_space(job):
        folder.mkdir(parents=True, exist_ok=True)
        _clear(job)
        missing = [task for task in range(tasks) if not job.is_done(task)]
        for task in missing:
            shutil.rmtree(job.place(task), ignore_errors=True)
        progress = Progress(step.name, total=tasks, unit=unit, done=tasks - len(missing))
        if missing:
            execute: Execute = importlib.import_module(f"{EXECUTORS}.{engine.executor.value}").execute
            execute(job, missing, engine, progress.advance)
    for task in missing:
        if not job.is_marked(task):
            raise RetryError(f"{job.place(task)} is not there though its task ended; run the same command again")
    return [job.place(task) for task in range(tasks)]


@contextmanager
def minding_space(job: Job) -> Iterator[None]:
    """Have a full disk be a fault of the moment. Raises RetryError."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise RetryError(
                f"no space is left on the disk of {job.folder} (step {job.step.name}); free some and run it again"
            ) from error
        raise


@contextmanager
def working(aside: Path) -> Iterator[Path]:
    """A folder for results of tasks within an artifact that is being written.

    It survives a failure, all else in the artifact does not; it is removed when the artifact is written.
    """
    for left in aside.iterdir():
        if left.name != WORK:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    work = aside / WORK
    work.mkdir(exist_ok=True)
    yield work
    shutil.rmtree(work)


def _clear(job: Job) -> None:
    shutil.rmtree(job.engine_folder, ignore_errors=True)
    for left in job.folder.glob(".*.part"):
        shutil.rmtree(left, ignore_errors=True)
    job.engine_folder.mkdir(exist_ok=True)
