"""What is done about a loss or a gradient that leaps: a step is left out, or the run goes back and skips the data.

Decided from the numbers of the ledger alone, the same on every rank, and written into it, so that a replay decides the
same. A step is an outlier if its loss or its gradient norm lies more than `deviations` standard deviations above the
mean of the last `window` steps that were none (the rule of OLMo 2, arXiv:2501.00656, section 3.2). An outlier's update
is left out. After `patience` outliers in a row, or one where a checkpoint is due, the run goes back to the last saved
step and goes on with the data behind those that it saw since (Chowdhery et al. 2022, arXiv:2204.02311, section 5.1).
So no checkpoint is ever made of a state that the run goes back behind.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.errors import DeterministicError
from train.config import SpikeConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Losses and gradient norms of the last steps that were no outliers, and what happened before them.

    `shift` is how many steps' data were skipped so far, `outliers` how many of the last steps were left out.
    """

    losses: tuple[float, ...] = ()
    norms: tuple[float, ...] = ()
    shift: int = 0
    outliers: int = 0
    returns: int = 0

    def plain(self) -> dict[str, Any]:
        """As JSON values, nothing rounded."""
        return {
            "losses": [loss.hex() for loss in self.losses],
            "norms": [norm.hex() for norm in self.norms],
            "shift": self.shift,
            "outliers": self.outliers,
            "returns": self.returns,
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Measured":
        """What `plain` gave."""
        losses, norms = (tuple(float.fromhex(value) for value in plain[name]) for name in ("losses", "norms"))
        return cls(losses=losses, norms=norms, **{name: plain[name] for name in ("shift", "outliers", "returns")})


@dataclass(slots=True, kw_only=True)
class Watch:
    """The policy of one run, and what it has measured so far.

    `returned` is what the ledger's next line says of a return; empty if there was none.
    """

    config: SpikeConfig
    measured: Measured = field(default_factory=Measured)
    returned: Mapping[str, Any] = field(default_factory=dict)

    def reason(self, *, loss: float, norm: float) -> str:
        """Why a step is an outlier: `loss` or `norm`; empty if it is none."""
        for name, value, before in (("loss", loss, self.measured.losses), ("norm", norm, self.measured.norms)):
            if self.config.is_on and len(before) == self.config.window and value > self._limit(before):
                return name
        return ""

    def note(self, *, loss: float, norm: float, reason: str) -> None:
        """Take a finished step into account."""
        if not self.config.is_on:
            return
        if reason:
            self.measured = replace(self.measured, outliers=self.measured.outliers + 1)
            return
        losses, norms = (*self.measured.losses, loss), (*self.measured.norms, norm)
        kept = slice(-self.config.window, None)
        self.measured = replace(self.measured, losses=losses[kept], norms=norms[kept], outliers=0)

    def must_return(self, *, is_saved: bool) -> bool:
        """Whether the run goes back to the last saved step, now that a step is noted."""
        outliers = self.measured.outliers
        return outliers >= self.config.patience or (outliers > 0 and is_saved)

    def go_back(self, saved: Measured, *, step: int, to: int, why: str) -> None:
        """Take up what was measured at the saved step, with the data since skipped.

        Raises DeterministicError if the run has gone back too often.
        """
        returns = self.measured.returns + 1
        if returns > self.config.max_returns:
            raise DeterministicError(
                f"step {step}: loss or gradient leaped again, after {self.config.max_returns} returns to a saved step; "
                "lower train.lr, or look at the data of this step"
            )
        self.measured = replace(saved, shift=self.measured.shift + step - to, returns=returns)
        self.returned = {"from": step, "why": why, "shift": self.measured.shift}

    def _limit(self, values: Sequence[float]) -> float:
        """fsum and sqrt are correctly rounded, so the limit is the same double on every machine."""
        mean = math.fsum(values) / len(values)
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
        return mean + self.config.deviations * deviation
