"""A process to which something happens just before it touches a path; SIGKILL cuts what it writes in two."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Audit events of the interpreter (PEP 578).
TOUCHES = ("open", "os.mkdir", "os.rename")


def kill_itself() -> None:
    """What happens unless something else is asked for."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Cut:
    """`act` before the `count`-th time that a path with `text` in it is touched; of several processes by one rank."""

    text: str
    count: int
    rank: int = 0
    act: Callable[[], None] = kill_itself


def arm(cut: Cut) -> None:
    """Have it happen in this process."""
    left = cut.count

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in TOUCHES and cut.text in str(arguments[0]):
            left -= 1
            if left == 0:
                cut.act()

    sys.addaudithook(watch)
