"""What to do when a stage's processes have ended: a pure function of what was seen.

The exit codes are those of core.errors. torchrun says only that a worker failed; what a rank said itself, in its exit
note, comes first. A rank that ended without a word was killed or crashed, and that outweighs a peer's "asked to
stop", because torchrun asks the peers of a dead rank to stop.
"""

import signal
from collections.abc import Mapping, Sequence
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


class Kind(Enum):
    """What a failure under keepers was; the earlier in this list, the more it tells of the cause of the others."""

    BROKEN = "its hardware says that it is broken"
    LOST = "its node was lost"
    OOM = "it ran out of memory"
    ERROR = "it ended with an error"
    CRASH = "it was ended by a signal"
    HANG = "it stood still"
    PEER = "it lost a peer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What happened to a rank (-1: to the node as a whole) at a step; `code` is its exit status, negative: a signal."""

    kind: Kind
    node: str
    rank: int
    step: int
    code: int = 0
    word: str = ""
    seconds: float = 0.0
    has_stack: bool = False

    @property
    def fingerprint(self) -> tuple[Kind, int, int, str]:
        """Equal for the same failure at the same step, wherever it happens."""
        return self.kind, self.step, self.code, self.word

    def __str__(self) -> str:
        who = f"rank {self.rank} on node {self.node}" if self.rank >= 0 else f"node {self.node}"
        how = f" ({self.word})" if self.word else ""
        if self.kind is Kind.CRASH:
            how = f" ({signal.Signals(-self.code).name})"
        return f"{who}: {self.kind.value}{how} in step {self.step}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do about a failure; `is_moved` asks for the ranks to change nodes: a bug goes with them."""

    action: Action
    exit_code: int
    reason: str
    wait_s: float = 0.0
    is_moved: bool = False


# What a program does to itself; SIGKILL comes from outside.
OWN_SIGNALS = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
GONE = (Kind.LOST, Kind.BROKEN)
STILL = (Kind.HANG, Kind.PEER)
LEMON_WINDOW_S = 24 * 3600.0


def kind_of(status: int, *, word: str, is_oom: bool) -> Kind | None:
    """What the end of a rank was; None if there is nothing wrong with it."""
    if status in (DONE_CODE, STOP_CODE):
        return None
    if is_oom or word.startswith("MemoryError") or "can't allocate memory" in word:
        return Kind.OOM
    if status < 0:
        return Kind.CRASH
    return Kind.PEER if status == RETRY_CODE else Kind.ERROR


def cause(failures: Sequence[Failure]) -> Failure:
    """Of what failed together, what the rest followed from; of ranks that stand still, the one that says least."""
    kinds = list(Kind)
    return min(failures, key=lambda one: (kinds.index(one.kind), one.has_stack, -one.seconds, one.step, one.rank))


def judge(
    found: Failure,
    *,
    history: Sequence[Failure],
    nodes_left: int,
    idle_restarts: int,
    max_idle_restarts: int,
    backoff_s: float,
) -> Verdict:
    """Decide about the cause of a failure; `history` are the causes before it since the last progress."""
    if found.kind is Kind.ERROR and found.code in (ConfigError.exit_code, DataError.exit_code):
        return Verdict(action=Action.GIVE_UP, exit_code=found.code, reason=str(found))
    again = [one for one in history if one.fingerprint == found.fingerprint]
    is_elsewhere = any(one.node != found.node for one in again) or nodes_left <= 1
    # Nodes may hear the coordinator and not each other: who stands still again is given other peers.
    is_still = found.kind in STILL and bool(history) and history[-1].kind in STILL
    is_own = found.kind in (Kind.ERROR, Kind.OOM) or (found.kind is Kind.CRASH and -found.code in OWN_SIGNALS)
    if again and is_own and (is_elsewhere or found.kind is Kind.OOM):
        where = f"before on node {again[-1].node}" if again[-1].node != found.node else "a second time"
        return Verdict(
            action=Action.GIVE_UP,
            exit_code=DeterministicError.exit_code,
            reason=f"{found}, and {where}: it would fail again",
        )
    if idle_restarts >= max_idle_restarts:
        is_same = bool(again) and is_elsewhere
        return Verdict(
            action=Action.GIVE_UP,
            exit_code=DeterministicError.exit_code if is_same else RETRY_CODE,
            reason=f"{found}; {idle_restarts} restarts brought no progress",
        )
    # What has failed is gone with its node: there is nothing to wait for.
    wait_s = backoff_s * 2 ** (idle_restarts - 1) if idle_restarts and found.kind not in GONE else 0.0
    return Verdict(
        action=Action.RESTART, exit_code=RETRY_CODE, reason=str(found), wait_s=wait_s, is_moved=is_own or is_still
    )


def seat(ready: Sequence[str], *, before: Sequence[str], wanted: int, is_moved: bool = False) -> list[str]:
    """Which nodes train, in the order of their ranks.

    Those that did before keep their places; a spare takes a lost one's; without spares there are fewer; a node that
    has come back is taken while there are fewer than wanted. If `is_moved` every node gets another one's ranks.
    """
    spares = [node for node in ready if node not in before]
    kept = [node if node in ready else None for node in before]
    filled = [node if node else (spares.pop(0) if spares else None) for node in kept]
    taken = [node for node in filled if node][:wanted]
    taken += spares[: wanted - len(taken)]
    if not is_moved:
        return taken
    if spares := [node for node in ready if node not in taken]:
        return [*taken[1:], spares[0]]
    return [*taken[1:], *taken[:1]]


def buddy(node: str, *, seated: Sequence[str], spares: Sequence[str]) -> str | None:
    """The node whose keeper holds what a node's ranks hand over: the next one that trains, or else a spare."""
    others = [*seated[seated.index(node) + 1 :], *seated[: seated.index(node)]]
    return next(iter([*others, *spares]), None)


def is_lemon(times: Sequence[float], *, now: float, limit: int) -> bool:
    """Whether a node has failed so often lately that it is to be left alone for a while; `times` are its failures'.

    With a limit of 0 none is.
    """
    return 0 < limit <= sum(now - time < LEMON_WINDOW_S for time in times)


def liar(*, said: str, found: str, voted: str, owner: str, auditor: str) -> str | None:
    """Who gave a wrong digest of a micro-batch: the one that the third does not agree with; None if nobody agrees."""
    if voted == found != said:
        return owner
    return auditor if voted == said != found else None
