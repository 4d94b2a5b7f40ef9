"""Conditions that a release inherits from the data and the models that it was made from, and conflicts with its own.

A stricter condition of a parent or a source that the release's own licence drops is a conflict to look at. Whether a
condition reaches through training at all is unsettled law: nothing is resolved here, and none of it is legal advice.
"""

from collections.abc import Sequence

from release.openness.facts import Facts
from release.openness.licences import conditions, is_readable, licences

STRICT = ("no-derivatives", "non-commercial", "use-restricted", "unstated", "share-alike")
LETTERS = {"datasets": "D", "inference_code": "A", "final": "M", "training_code": "S"}


def inherited(facts: Facts) -> dict[str, list[str]]:
    """By condition, strictest first, who brings it in."""
    brought: dict[str, list[str]] = {}
    for name, licence in _origins(facts):
        for condition in _conditions(licence):
            brought.setdefault(condition, []).append(f"{name} ({licence or 'no licence'})")
    return {condition: sorted(brought[condition]) for condition in STRICT if condition in brought}


def conflicts(facts: Facts) -> list[str]:
    """Inherited conditions that the weights' own licence does not carry on."""
    own = set(_conditions(facts.found["final"].licence))
    return [
        f"{condition}: asked by {', '.join(names)}, not carried on by {facts.found['final'].licence or 'no licence'}"
        for condition, names in inherited(facts).items()
        if condition not in own
    ]


def restricted(facts: Facts) -> str:
    """The letters D, A, M and S (data, application, model, source) of what is restricted in use; none if nothing is."""
    letters = [letter for key, letter in LETTERS.items() if "use-restricted" in _conditions(facts.found[key].licence)]
    return "".join(letters) or "none"


def _origins(facts: Facts) -> Sequence[tuple[str, str]]:
    parents = [(f"parent {parent.name}", parent.licence) for parent in facts.parents]
    theirs = [(f"source {name} of a parent", licence) for name, licence in facts.inherited_sources.items()]
    return [*parents, *theirs, *((f"source {source.name}", source.licence) for source in facts.sources)]


def _conditions(expression: str) -> list[str]:
    if not is_readable(expression):
        return conditions(expression)
    named = licences(expression) or [expression]
    return sorted({condition for licence in named for condition in conditions(licence)})
