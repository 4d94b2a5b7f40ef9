"""Verdicts: what a check found, how it is said, and how a command ends on it.

Exit codes of verify and reproduce: 0 if every verdict is PASS; 66 if one is FAIL; 69 if none is FAIL but one is
INCONCLUSIVE (this machine cannot tell), UNSUPPORTED (this bundle does not allow the check) or BY REFERENCE (a thin
bundle does not hold what is to be checked).

Weaker claims (tolerance.py, seeds.py) have verdicts and exit codes of their own, so that nobody takes one for PASS: 3
if WITHIN or EQUIVALENT, 4 if OUTSIDE or NOT EQUIVALENT.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, NoReturn

from core.errors import DataError, ProjectError


class Verdict(Enum):
    """How a check came out."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    UNSUPPORTED = "UNSUPPORTED"
    REFERENCE = "BY REFERENCE"
    WITHIN = "WITHIN"
    OUTSIDE = "OUTSIDE"
    EQUIVALENT = "EQUIVALENT"
    DIFFERENT = "NOT EQUIVALENT"
    TOO_FEW = "TOO FEW"


HOLDS, HOLDS_NOT = 3, 4


class InconclusiveError(ProjectError):
    """The question cannot be answered here; nothing speaks against the bundle."""

    exit_code: ClassVar[int] = 69


class UnsupportedError(InconclusiveError):
    """The bundle does not hold what the check needs."""


class ByReferenceError(InconclusiveError):
    """The bundle holds what the check needs by digest only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A check's verdict. `detail` depends on the bundle alone; `aside` may speak of placement and machine."""

    check: str
    verdict: Verdict
    detail: str
    aside: str = ""
    cannot_catch: str = ""

    def __str__(self) -> str:
        said = f"{self.check:<12} {self.verdict.value:<12} {self.detail}"
        said += f" ({self.aside})" if self.aside else ""
        return said + (f"; cannot catch: {self.cannot_catch}" if self.cannot_catch else "")


def conclude(findings: Sequence[Finding], *, subject: str) -> None:
    """End on the findings: silently if all pass. Raises DataError if one is FAIL, else InconclusiveError."""
    failed = [finding.check for finding in findings if finding.verdict is Verdict.FAIL]
    open_ = [finding.check for finding in findings if finding.verdict not in (Verdict.PASS, Verdict.FAIL)]
    if failed:
        raise DataError(f"{subject}: FAIL in {', '.join(failed)}; do not rely on it")
    if open_:
        raise InconclusiveError(f"{subject}: nothing failed, but {', '.join(open_)} could not be judged here")


def conclude_weakly(findings: Sequence[Finding], *, subject: str) -> NoReturn:
    """End on findings of a weaker claim, and never with exit code 0.

    Raises DataError if one is FAIL, SystemExit(HOLDS_NOT) if one speaks against the claim, InconclusiveError if one
    cannot be judged, else SystemExit(HOLDS).
    """
    found = {finding.verdict for finding in findings}
    if Verdict.FAIL in found:
        conclude(findings, subject=subject)
    if found & {Verdict.OUTSIDE, Verdict.DIFFERENT}:
        raise SystemExit(HOLDS_NOT)
    holding = {Verdict.WITHIN, Verdict.EQUIVALENT}
    open_ = [finding.check for finding in findings if finding.verdict not in {Verdict.PASS, *holding}]
    if open_ or not found & holding:
        raise InconclusiveError(f"{subject}: {', '.join(open_) or 'nothing'} could not be judged here")
    raise SystemExit(HOLDS)
