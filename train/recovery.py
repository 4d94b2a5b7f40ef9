"""Decisions about checkpoints, as pure functions over what was found: from where to go on, what to remove."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that was found; `fault` says why it cannot be used and is empty if it can."""

    step: int
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Go on after `step` (0: from the initial weights), because of `reason`; the refused are moved out of the way."""

    step: int
    reason: str
    refused: tuple[Candidate, ...] = ()


def choose_start(candidates: Iterable[Candidate], *, is_kept: Callable[[int], bool]) -> Start:
    """The newest sound checkpoint before which no checkpoint that the artifact keeps is missing or damaged.

    A run that goes on from there ends with all the checkpoints it would have had without a failure.
    """
    found = sorted(candidates, key=lambda candidate: candidate.step)
    sound = {candidate.step for candidate in found if not candidate.fault}
    reached = 0
    for candidate in found:
        if any(is_kept(step) and step not in sound for step in range(reached + 1, candidate.step + 1)):
            break
        if candidate.step in sound:
            reached = candidate.step
    refused = tuple(
        candidate if candidate.fault else Candidate(candidate.step, "an earlier checkpoint is missing or damaged")
        for candidate in found
        if candidate.fault or candidate.step > reached
    )
    return Start(reached, _reason(found, reached), refused)


def superfluous(steps: Sequence[int], *, is_kept: Callable[[int], bool], newest: int) -> list[int]:
    """Which of the checkpoints at `steps` to remove: all but the newest few and those that the artifact keeps.

    Nothing is kept for being the best by some measure: what is kept is known before the run begins.
    """
    old = sorted(steps)[: len(steps) - newest] if newest < len(steps) else []
    return [step for step in old if not is_kept(step)]


def _reason(found: Sequence[Candidate], reached: int) -> str:
    if not found:
        return "there is no checkpoint"
    if reached == found[-1].step:
        return "it is the newest checkpoint and sound"
    return "it is the newest checkpoint that is sound and has all before it"
