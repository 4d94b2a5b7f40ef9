"""The Open Source AI Definition 1.0: whether a release has all that its checklist asks for.

Source: OSI, The Open Source AI Definition 1.0 and its checklist by components. The verdict has three values, since
where the data itself is not open, whether its description suffices is for people to judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from release.openness.components import BY_KEY
from release.openness.facts import Facts
from release.openness.licences import is_open

CODE = ("preprocessing_code", "training_code", "evaluation_code", "inference_code", "libraries")
MODEL = ("architecture", "final")
DESCRIPTIONS = ("data_card", "report", "paper")


class Osaid(Enum):
    """How the definition's checklist comes out."""

    MEETS = "meets"
    NEEDS_HUMAN = "needs-human"
    FAILS = "fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict, and what stands in the way of a better one."""

    verdict: Osaid
    gaps: Sequence[str]


def judge(facts: Facts) -> Judgement:
    """Go through the checklist."""
    lacking = [gap for key in (*CODE, *MODEL) if (gap := _gap(facts, key))]
    data = _gap(facts, "datasets")
    is_described = any(facts.found[key].is_there for key in DESCRIPTIONS)
    if data and not is_described:
        lacking.append(f"{data}, and no data card, report or paper describes them")
    if lacking:
        return Judgement(verdict=Osaid.FAILS, gaps=lacking)
    if data:
        gap = f"{data}: somebody must judge whether what is said of the data is enough to build an equivalent system"
        return Judgement(verdict=Osaid.NEEDS_HUMAN, gaps=[gap])
    if facts.without_evidence:
        gap = f"the licence of {', '.join(facts.without_evidence)} rests on no paper in the release: somebody must look"
        return Judgement(verdict=Osaid.NEEDS_HUMAN, gaps=[gap])
    return Judgement(verdict=Osaid.MEETS, gaps=[])


def _gap(facts: Facts, key: str) -> str:
    found, name = facts.found[key], BY_KEY[key].name.lower()
    if not found.is_there:
        return f"{name} {found.status.value}"
    return "" if is_open(found.licence) else f"{name} not under an open licence ({found.licence or 'none stated'})"
