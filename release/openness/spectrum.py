"""Where a release stands between closed and open: one place, and what the next one asks for."""

from dataclasses import dataclass

from release.openness.facts import Facts
from release.openness.licences import is_open
from release.openness.mof import Grade
from release.openness.osaid import Judgement, Osaid

PLACES = ("closed", "open access", "open weights", "open model", "open tooling", "open full pipeline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place on the spectrum, and what would lead on."""

    name: str
    next_step: str


def place(facts: Facts, grade: Grade, osaid: Judgement, *, is_replayed: bool) -> Place:
    """The furthest place that a release has earned.

    `is_replayed`: a party that the reader trusts found at V4 or above that the training is what the release says.
    """
    final = facts.found["final"]
    if not final.is_there:
        return Place(name="closed", next_step="the weights")
    if not is_open(final.licence):
        said = final.licence or "none stated"
        return Place(name="open access", next_step=f"an open licence for the weights (now: {said})")
    if not grade.framework_class:
        return Place(name="open weights", next_step=f"{', '.join(grade.missing[3])}")
    if grade.framework_class == 3:
        return Place(name="open model", next_step=", ".join(grade.missing[2]))
    if grade.framework_class == 2:
        return Place(name="open tooling", next_step=", ".join(grade.missing[1]))
    if osaid.verdict is not Osaid.MEETS:
        return Place(name="open tooling", next_step="; ".join(osaid.gaps))
    if not is_replayed:
        asked = "a verification at V4 by yourself, or signed by a party you trust: no page can say that of itself"
        return Place(name="open tooling", next_step=asked)
    return Place(name="open full pipeline", next_step="")
