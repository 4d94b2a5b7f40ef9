"""The evaluations in a ledger must be those that were due, of the held-out tokens that are shipped, and add up."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError
from core.hashing import canonical_json, hash_file
from core.ledger import Ledger, genesis
from release.contents import Bundle
from release.evaluations import HELDOUT, check_evaluations
from train.heldout import Score, Scores

COUNTS = {"alpha": (700, 2000), "beta": (300, 1111)}
NATS = {"alpha": 2100.7, "beta": 1000.3}
STAGES: dict[str, list[str]] = {"train": [], "bundle": ["train"]}
Change = Callable[[dict[str, Any]], object]


def write_bundle(folder: Path, *, steps: tuple[int, ...], change: Change = lambda told: None) -> Bundle:
    """As much of a bundle as the check reads: a run of 5 steps, evaluated every 2; `change` is made to the last one."""
    record = [{"name": name, "text_tokens": tokens, "text_bytes": size} for name, (tokens, size) in COUNTS.items()]
    for name, content in (
        (HELDOUT, {"sources": record}),
        ("config/train.json", {"train": {"eval_every_steps": 2}}),
        (
            "config/stages.yaml",
            {name: {"folder": "any", "verb": "any", "inputs": from_} for name, from_ in STAGES.items()},
        ),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(canonical_json(content))
    (folder / "logs").mkdir()
    ledger = Ledger(folder / "logs" / "ledger.jsonl", genesis(code="c", config="f", data="d", profile="p"))
    for step in range(1, 6):
        told = scores(hash_file(folder / HELDOUT))
        if step == steps[-1]:
            change(told)
        ledger.append({"step": step, "tokens": step, **({"eval": told} if step in steps else {})})
    ledger.close()
    return Bundle(folder=folder)


def scores(root: str) -> dict[str, Any]:
    """What the trainer would write."""
    sources = {
        name: Score.of(NATS[name], text_tokens=tokens, text_bytes=size) for name, (tokens, size) in COUNTS.items()
    }
    total = Score.of(sum(NATS.values()), text_tokens=1000, text_bytes=3111)
    return Scores(root=root, total=total, sources=sources, seconds=0.0).plain()


def test_what_the_trainer_writes_is_accepted(tmp_path: Path) -> None:
    said = check_evaluations(write_bundle(tmp_path, steps=(2, 4, 5)))
    assert said == "3 evaluations are of the held-out tokens that are here"


@pytest.mark.parametrize("steps", [(2, 4), (2, 5), (2, 3, 4, 5)])
def test_one_that_is_missing_or_was_not_due_is_named(tmp_path: Path, steps: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"but the configuration says \[2, 4, 5\]"):
        check_evaluations(write_bundle(tmp_path, steps=steps))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told.update(heldout="0" * 64), "step 5 was evaluated on held-out tokens with root 0000"),
        (lambda told: told["sources"].pop("beta"), "names sources"),
        (lambda told: told["sources"]["beta"].update(loss=(1.0).hex()), "other bits per byte of beta"),
        (lambda told: told.update(bits_per_byte=(1.0).hex()), "other bits per byte of total"),
        (
            lambda told: told.update(Score.of(3000.0, text_tokens=1000, text_bytes=3111).plain()),
            "another loss in total",
        ),
    ],
)
def test_a_number_that_does_not_fit_the_others_is_refused(tmp_path: Path, change: Change, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_evaluations(write_bundle(tmp_path, steps=(2, 4, 5), change=change))
