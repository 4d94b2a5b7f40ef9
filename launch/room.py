"""What must be written waits for room on the disk: a full disk is no reason to give up a run that goes on training."""

import sys
import time
from collections.abc import Callable

from core.durable import NO_SPACE
from core.errors import RetryError

WAIT_S, POLL_S = 60.0, 0.1


def write_patiently(write: Callable[[], object], where: str, *, wait_s: float = WAIT_S) -> float:
    """Call `write` until there is room for it; returns the seconds that this took.

    Raises RetryError if there is none in `wait_s`.
    """
    began = time.monotonic()
    has_spoken = False
    while True:
        try:
            write()
            return time.monotonic() - began if has_spoken else 0.0
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            if time.monotonic() - began > wait_s:
                raise RetryError(
                    f"no room on the disk of {where} for {wait_s:g} s; free some and run the same command again: "
                    "all that was committed is kept"
                ) from error
        if not has_spoken:
            has_spoken = True
            sys.stderr.write(f"warning: no room on the disk of {where}; waiting until there is some\n")
        time.sleep(POLL_S)
