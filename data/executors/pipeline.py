"""The pipeline that datatrove's executors are given: one step, which does a task of ours instead of passing documents.

The executors add logs and statistics below the job's `.engine` folder. Their messages are kept off the console, which
belongs to our progress and errors.
"""

from collections.abc import Iterator
from typing import Any

from datatrove.pipeline.base import PipelineStep
from datatrove.utils.logging import logger

from data.engine import Job

# A local rank above 0 makes datatrove speak on the console of errors only, and those are silenced here.
QUIET_RANK = 1


class TaskStep(PipelineStep):  # type: ignore[misc]
    """Does the task whose number is datatrove's rank; neither takes nor gives documents."""

    type = "wholegrain"

    def __init__(self, job: Job) -> None:
        self.name = job.step.name
        super().__init__()
        self.job = job

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        """Do task `rank`."""
        with self.track_time("task"):
            self.job.do(rank)
        return iter(())


def be_quiet() -> None:
    """Keep datatrove's own messages off this process's console; a task's errors are raised all the same."""
    logger.disable("datatrove.executor")
