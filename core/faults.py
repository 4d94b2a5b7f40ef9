"""Faults that are injected on purpose: what is broken, where, and when. For drills and tests.

    KIND@PLACE=NAME[,step=S][,generation=G][,phase=NAME][,share=P][,seconds=T]

    crash     the rank kills itself with SIGKILL            at rank=R or node=N, before step S
    abort     it ends with SIGABRT
    segfault  it reads where it may not
    freeze    it stops itself with SIGSTOP
    raise     it raises an error, always the same
    oom       it takes memory until it is given none (RLIMIT_AS)
    sleep     it sleeps for `seconds`, an hour if none are given: a hang, or with few in every step a straggler
    hold      it waits until the fault is taken out of its box (faultbox.py), where alone there is one
    skew      its clock is `seconds` ahead from then on
    lose      the whole node is killed: its keeper, which everything on it dies with
    flip      one bit of the micro-batches' gradients that the node computes, in a share P of them
    nan       these gradients are no numbers
    rot       one bit of what the node's keeper holds

A fault without a generation strikes in every one: that is a bug, or broken hardware. One with it strikes once. A phase
is one of the heart's (core/heart.py), `micro_batch` before each of them, or a step of a checkpoint's commit (COMMIT).
"""

from dataclasses import dataclass

from core.errors import ConfigError

OF_GRADIENTS, OF_KEEPERS, OF_A_BOX = ("flip", "nan"), "rot", "hold"
KINDS = (
    *("crash", "abort", "segfault", "freeze", "raise", "oom", "sleep", OF_A_BOX, "skew", "lose"),
    *(*OF_GRADIENTS, OF_KEEPERS),
)
PLACES = ("rank", "node")
# In the order in which a checkpoint passes them; all but `write` are the first rank's.
COMMIT = tuple(
    f"commit.{name}" for name in ("open", "write", "ledger", "state", "manifest", "rename", "renamed", "remove")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault; `step` 0 is any step, `generation` 0 any generation."""

    kind: str
    rank: int = -1
    node: str = ""
    step: int = 0
    generation: int = 0
    share: float = 1.0
    seconds: float = 3600.0
    phase: str = "compute"

    def strikes(self, *, rank: int, node: str, step: int, generation: int, phase: str) -> bool:
        """Whether it strikes a rank of a node here and now."""
        is_place = (self.rank == rank if self.rank >= 0 else self.node == node) and phase == self.phase
        return is_place and self.step in (0, step) and self.generation in (0, generation)


def read_fault(text: str) -> Fault:
    """Read a fault. Raises ConfigError saying what is wrong with it."""
    kind, _, rest = text.partition("@")
    values = dict(part.partition("=")[::2] for part in rest.split(","))
    if kind not in KINDS or not set(values) & set(PLACES):
        raise ConfigError(
            f"fault {text!r} is none; write KIND@rank=R,step=S or KIND@node=N,... with {', '.join(KINDS)}"
        )
    try:
        numbers = {name: int(values.pop(name)) for name in ("rank", "step", "generation") if name in values}
        measures = {name: float(values.pop(name)) for name in ("share", "seconds") if name in values}
        return Fault(kind=kind, **numbers, **measures, **values)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ConfigError(f"fault {text!r}: {error}") from error
