"""Steps that the tests of the engine run in other processes, where they are imported by this module's name."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from core.errors import DataError
from data.engine import Step


@dataclass(kw_only=True)
class Square(Step):
    """Task n writes n squared; `log` gets a line for each task that is really done."""

    name: ClassVar[str] = "square"
    log: Path

    def run(self, task: int, out: Path) -> None:
        """Write the square."""
        with self.log.open("a") as stream:
            stream.write(f"{task} {os.getpid()}\n")
        (out / "deep").mkdir()
        (out / "deep" / "square.txt").write_text(str(task * task))


@dataclass(kw_only=True)
class Faulty(Square):
    """As Square, but task `at` fails in one of several ways."""

    name: ClassVar[str] = "faulty"
    at: int
    how: str

    def run(self, task: int, out: Path) -> None:
        """Write the square, or fail."""
        super().run(task, out)
        if task != self.at:
            return
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "bug":
            raise ValueError("a slip of ours")
        raise DataError("page 7 of crawl.warc is cut off; fetch it again")


@dataclass(kw_only=True)
class Waiting(Square):
    """As Square, but task 0 never ends if `is_stuck`."""

    name: ClassVar[str] = "waiting"
    is_stuck: bool

    def run(self, task: int, out: Path) -> None:
        """Write the square; task 0 then waits for a signal that ends it."""
        super().run(task, out)
        while self.is_stuck and task == 0:
            signal.pause()


@dataclass(kw_only=True)
class Large(Square):
    """As Square, and the task writes megabytes."""

    name: ClassVar[str] = "large"
    megabytes: int

    def run(self, task: int, out: Path) -> None:
        """Write the square and the rest."""
        super().run(task, out)
        (out / "large.bin").write_bytes(bytes(self.megabytes << 20))


def done_in(log: Path) -> list[int]:
    """The tasks that were really done, as often as they were."""
    return sorted(int(line.split()[0]) for line in _lines(log))


def workers_in(log: Path) -> set[int]:
    """The processes that did them."""
    return {int(line.split()[1]) for line in _lines(log)}


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []
