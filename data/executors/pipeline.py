"""The pipeline that datatrove's executors are given: one step, which does a task of ours instead of passing documents.

The executors add logs and statistics below the job's `.engine` folder. Their messages are kept off the console, which
belongs to our progress and errors. Where a task's exception cannot come back by itself, it comes as a note, a file.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any

from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from core import errors
from core.durable import write_durably
from core.errors import ProjectError
from core.hashing import canonical_json
from data.engine import Job

# A local rank above 0 makes datatrove speak on the console of errors only, and those are silenced here.
QUIET_RANK = 1


class TaskStep(PipelineStep):  # type: ignore[misc]
    """Does the task whose number is datatrove's rank; neither takes nor gives documents.

    If `notes` is given, an error is left in that folder too.
    """

    type = "wholegrain"

    def __init__(self, job: Job, *, notes: Path | None = None) -> None:
        self.name = job.step.name
        super().__init__()
        self.job = job
        self.notes = notes

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Do task `rank`."""
        noting: AbstractContextManager[None] = Noting(self.notes, self.job, rank) if self.notes else nullcontext()
        with self.track_time("task"), noting:
            self.job.do(rank)
        return iter(())


class Noting:
    """Leaves a note of an error that passes through it, as `<folder>/<task:05d>.json`."""

    def __init__(self, folder: Path, job: Job, task: int) -> None:
        self._path, self._job, self._task = folder / f"{task:05d}.json", job, task

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, Exception):
            write_durably(self._path, canonical_json(self._note(error)))

    def _note(self, error: Exception) -> dict[str, str]:
        if isinstance(error, ProjectError):
            known = next(cls for cls in type(error).__mro__ if cls.__module__ == errors.__name__)
            return {"error": known.__name__, "message": str(error)}
        return {"error": ProjectError.__name__, "message": crash_line(self._job, self._task, error)}


def crash_line(job: Job, task: int, error: BaseException) -> str:
    """What is said of a task that failed with an error that is not one of ours; datatrove's log has the traceback."""
    log = job.engine_folder / "logs" / f"task_{task:05d}.log"
    return f"task {task} of {job.step.name} crashed with {type(error).__name__}: {error}; its traceback is in {log}"


def raise_noted(folder: Path) -> None:
    """Raise the error of the first task that left a note, if any did."""
    for path in sorted(folder.glob("[0-9]*.json")):
        note = json.loads(path.read_bytes())
        raise getattr(errors, note["error"])(note["message"])


def be_quiet(part: str = "datatrove.executor") -> None:
    """Keep datatrove's own messages, or those of a part, off this process's console; errors are raised all the same."""
    logger.disable(part)
