"""Where the time of a run goes: every second is counted once (docs/goodput.md)."""

from collections.abc import Mapping
from enum import Enum


class Kind(Enum):
    """What a second was spent on."""

    STEP = "step"
    STALL = "stall"
    REDO = "redo"
    DETECT = "detect"
    RESTART = "restart"
    WAIT = "wait"
    SHRUNK = "shrunk"


class Account:
    """Seconds by kind."""

    def __init__(self, seconds: Mapping[Kind, float] | None = None) -> None:
        self.seconds = {kind: (seconds or {}).get(kind, 0.0) for kind in Kind}

    def add(self, kind: Kind, seconds: float) -> None:
        """Count some seconds; what turns out to have been another kind is taken back by a negative number."""
        self.seconds[kind] += seconds

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds.values())

    @property
    def goodput(self) -> float:
        """The share of seconds in steps that stay (ETTR)."""
        return self.share(Kind.STEP)

    def share(self, kind: Kind) -> float:
        """The share of a kind; 0 of no time at all."""
        return self.seconds[kind] / self.total if self.total else 0.0
