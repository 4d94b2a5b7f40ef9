"""What to do when a stage's processes have ended: a pure function of what was seen.

The exit codes are those of core.errors. torchrun says only that a worker failed; what a rank said itself, in its exit
note, comes first. A rank that ended without a word was killed or crashed, and that outweighs a peer's "asked to
stop", because torchrun asks the peers of a dead rank to stop.
"""

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from core.errors import ConfigError, DataError, DeterministicError, Preempted, ProjectError, RetryError

DONE_CODE = 0
RETRY_CODE = RetryError.exit_code
STOP_CODE = Preempted.exit_code
ERRORS = {error.exit_code: error for error in (ConfigError, DeterministicError, DataError, RetryError, Preempted)}


class Action(Enum):
    """What the supervisor does next."""

    FINISH = "finish"
    RESTART = "restart"
    GIVE_UP = "give up"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Word:
    """What a rank said when it ended."""

    exit_code: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a generation ended, as far as its processes tell.

    `exit_code` is that of the process that was started (negative: a signal), None if it still ran when a rank was
    found dead or hung; `words` are the exit notes by rank; `silent` are the ranks that died without a note.
    """

    exit_code: int | None = None
    words: Mapping[int, Word] = field(default_factory=dict)
    silent: tuple[int, ...] = ()
    is_stalled: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, with which exit code, and why in one phrase; `wait_s` is the time before a restart."""

    action: Action
    exit_code: int
    reason: str
    wait_s: float = 0.0


def decide(end: End, *, idle_restarts: int, max_idle_restarts: int, backoff_s: float) -> Decision:
    """Decide after a generation has ended; `idle_restarts` counts the restarts since the last progress."""
    if end.exit_code == DONE_CODE:
        return Decision(Action.FINISH, DONE_CODE, "done")
    failures = {rank: word for rank, word in sorted(end.words.items()) if word.exit_code != DONE_CODE}
    for rank, word in failures.items():
        if word.exit_code not in (RETRY_CODE, STOP_CODE):
            return Decision(Action.GIVE_UP, word.exit_code, _said(rank, word))
    is_stopped = any(word.exit_code == STOP_CODE for word in failures.values())
    if is_stopped and not end.silent and not end.is_stalled:
        return Decision(Action.STOP, STOP_CODE, "it was asked to stop")
    reason = _reason(end, failures)
    if idle_restarts >= max_idle_restarts:
        return Decision(Action.GIVE_UP, RETRY_CODE, f"{reason}; {idle_restarts} restarts brought no progress")
    wait_s = backoff_s * 2 ** (idle_restarts - 1) if idle_restarts else 0.0
    return Decision(Action.RESTART, RETRY_CODE, reason, wait_s)


def _reason(end: End, failures: Mapping[int, Word]) -> str:
    if end.is_stalled:
        return "no rank finished a step for too long"
    if end.exit_code is not None and end.exit_code < 0:
        return f"it was killed by {signal.Signals(-end.exit_code).name}"
    if end.silent:
        return " and ".join(f"rank {rank}" for rank in end.silent) + " died without a word"
    retried = [_said(rank, word) for rank, word in failures.items() if word.exit_code == RETRY_CODE]
    return retried[0] if retried else f"its agent ended with exit code {end.exit_code}"


def _said(rank: int, word: Word) -> str:
    return f"rank {rank}: {word.message}" if rank else word.message


def error_of(exit_code: int, message: str) -> ProjectError:
    """The error with which the launcher ends as a process that it started did; a crash is a plain ProjectError."""
    return ERRORS.get(exit_code, ProjectError)(message)
