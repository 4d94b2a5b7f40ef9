"""The 14 parameters of the European Open Source AI Index, each open, partial or closed.

Source: osai-index.eu and opening-up-chatgpt (Liesenfeld and Dingemanse 2024): availability, documentation, access.
What its people judge by reading is judged here by what the release holds, so theirs may come out otherwise.
"""

from release.openness.components import Status
from release.openness.facts import Facts
from release.openness.licences import is_open

OPEN, PARTIAL, CLOSED = "open", "partial", "closed"


def parameters(facts: Facts) -> dict[str, str]:
    """Every parameter's class. End-user data and weights are those of tuning; a base model is its own end."""
    return {
        "base data": _of(facts, "datasets"),
        "end-user data": _of(facts, "datasets"),
        "base weights": _of(facts, "final"),
        "end-user weights": _of(facts, "final"),
        "training code": _of(facts, "training_code"),
        "code documentation": PARTIAL if facts.found["training_code"].is_there else CLOSED,
        "hardware architecture": PARTIAL if facts.words.declared.get("hardware") else CLOSED,
        "preprint": _of_document(facts, "report"),
        "paper": _of_document(facts, "paper"),
        "model card": _of_document(facts, "model_card"),
        "datasheet": _of_document(facts, "data_card"),
        "package": PARTIAL if facts.found["inference_code"].is_there else CLOSED,
        "api and meta prompts": CLOSED,
        "licences": _licences(facts),
    }


def _of(facts: Facts, key: str) -> str:
    found = facts.found[key]
    if not found.is_there:
        return PARTIAL if found.status is Status.BROKEN or found.note else CLOSED
    return OPEN if is_open(found.licence) else PARTIAL


def _of_document(facts: Facts, key: str) -> str:
    found = facts.found[key]
    if not found.is_there:
        return PARTIAL if found.paths else CLOSED
    return OPEN if found.status is Status.PRESENT else PARTIAL


def _licences(facts: Facts) -> str:
    there = [found for found in facts.found.values() if found.is_there]
    opened = [found for found in there if is_open(found.licence)]
    return OPEN if there and len(opened) == len(there) else PARTIAL if opened else CLOSED
