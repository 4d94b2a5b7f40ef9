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
    """As Square, but task 0 never ends: it says through the log that it has begun."""

    name: ClassVar[str] = "waiting"

    def run(self, task: int, out: Path) -> None:
        """Write the square; task 0 then waits for a signal that ends it."""
        super().run(task, out)
        while task == 0:
            signal.pause()
