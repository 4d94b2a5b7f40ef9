"""Processes of this machine, through datatrove's LocalPipelineExecutor.

What a rank does is datatrove's; who runs which rank is ours, for two reasons seen in datatrove 0.10.1: its pool waits
forever for a rank whose process was killed, and its manager process outlives a launcher that was killed. One worker is
this process itself. More are processes that die with it, leave an interrupt to it, and do one task after another.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess

from datatrove.executor.local import LocalPipelineExecutor

from core.errors import ProjectError, RetryError
from core.notes import die_with_parent
from data.engine import Job, minding_space
from data.engineconfig import EngineConfig
from data.executors.pipeline import QUIET_RANK, TaskStep, be_quiet

# A task's error comes back by itself; of a log that finds the disk full, loguru would tell at length on the console.
ALL = "datatrove"


class LocalExecutor(LocalPipelineExecutor):  # type: ignore[misc]
    """datatrove's local executor with processes that may be killed."""

    def run_rank(self, rank: int) -> None:
        """Do one task in this process, with datatrove's log and statistics."""
        with minding_space(self.pipeline[0].job):
            self._run_for_rank(rank, QUIET_RANK)


@dataclass(slots=True)
class Worker:
    """A process, our end of the pipe to it, and the task that it is doing."""

    process: BaseProcess
    pipe: "connection.Connection[int, ProjectError | None]"
    task: int = -1

    def give(self, task: int) -> None:
        """Have the process do a task. If it is gone, `finish` says so."""
        self.task = task
        with suppress(ConnectionError):
            self.pipe.send(task)

    def finish(self, name: str) -> None:
        """Take the answer to a task. Raises the task's error, or RetryError if the process is gone."""
        try:
            answer = self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            self.process.join()
            raise _end(name, self.task, self.process.exitcode or 0) from error
        if answer is not None:
            raise answer


def execute(job: Job, tasks: list[int], engine: EngineConfig, advance: Callable[[int], None]) -> None:
    """Do tasks in `data.workers` processes."""
    be_quiet(ALL)
    executor = LocalExecutor([TaskStep(job)], tasks=job.tasks, logging_dir=str(job.engine_folder), skip_completed=False)
    if engine.workers == 1:
        for task in tasks:
            executor.run_rank(task)
            advance(1)
        return
    waiting = iter(tasks)
    with _workers(executor, min(engine.workers, len(tasks))) as workers:
        busy = {worker.pipe: worker for worker in workers}
        for worker in workers:
            worker.give(next(waiting))
        while busy:
            for pipe in connection.wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                worker.finish(job.step.name)
                advance(1)
                following = next(waiting, None)
                if following is None:
                    del busy[worker.pipe]
                else:
                    worker.give(following)


@contextmanager
def _workers(executor: LocalExecutor, count: int) -> Iterator[list[Worker]]:
    # Fork after threads may hang, and a forkserver's children outlive a killed launcher: they keep the server alive.
    context = get_context("spawn")
    workers: list[Worker] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(executor, theirs), daemon=True)
            process.start()
            theirs.close()
            workers.append(Worker(process, ours))
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()


def _serve(executor: LocalExecutor, pipe: "connection.Connection[ProjectError | None, int]") -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers ctrl-c
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    be_quiet(ALL)
    while (task := _receive(pipe)) is not None:
        try:
            executor.run_rank(task)
            pipe.send(None)
        except ProjectError as error:
            pipe.send(error)


def _receive(pipe: "connection.Connection[ProjectError | None, int]") -> int | None:
    try:
        return pipe.recv()
    except EOFError:  # the launcher is gone
        return None


def _end(name: str, task: int, exit_code: int) -> ProjectError:
    if exit_code < 0:
        return RetryError(
            f"the process of task {task} of {name} was killed by {signal.Signals(-exit_code).name}, "
            "perhaps for want of memory; run the same command again"
        )
    return ProjectError(f"the process of task {task} of {name} crashed with exit code {exit_code}; see its traceback")
