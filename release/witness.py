"""The witness of a run: its journals, and the check that they tell the story of the ledger.

    witness/<stage>/...                  what a stage left: times, the ranks' journals (train/journal-rank*.jsonl)
    witness/launch/journal.jsonl         the launcher's: ends and starts of every stage, and why
    witness/launch/keeper-journal.jsonl  the coordinator's, if keepers held the ranks
    witness/stdout/STAGE.log             what each stage's processes wrote, cleaned (console.py)
    witness/cost.json                    hours, memory, energy (cost.py)

A run says what it does in events, of which its console lines are a view; the journals have the full numbers. None of it
is part of the root, and whoever passes a bundle on could change it: what fits is no proof, what does not fit is worth
asking about.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.codetree import ROOT
from core.errors import DataError
from core.journal import read_journal
from release.contents import Bundle
from release.cost import COST, check_plausible
from release.stage import run_verb
from release.verdict import UnsupportedError

JOURNALS = "journal-rank*.jsonl"
LAUNCHER = "launch/journal.jsonl"
# Where a run's folder has journals that no stage made: the place in the witness.
OUTSIDE = {"journal.jsonl": LAUNCHER, "keeper/journal.jsonl": "launch/keeper-journal.jsonl"}
STARTED, STEPPED, RETURNED = "run.started", "step.finished", "run.returned"
BEGUN = ("run.begun", "run.resumed")

Event = Mapping[str, Any]


def journals_outside(out: Path) -> dict[str, Path]:
    """The journals of a run's folder that belong to no stage, by their place in the witness."""
    return {place: out / name for name, place in OUTSIDE.items() if (out / name).is_file()}


def read_account(recipe: str, overrides: Iterable[str]) -> dict[str, Any]:
    """Where the time of the run went, as `python -m launch goodput` counts it; `why` if that cannot be told."""
    ended = run_verb(ROOT, "launch", "goodput", recipe, "--json", *overrides)
    if ended.exit_code:
        return {"why": ended.message}
    account: dict[str, Any] = json.loads(ended.output)
    return account


def witness(bundle: Bundle) -> str:
    """The first rank's journal tells of every step of the ledger, with its loss, and of a start before each return.

    Hours and operations are such as devices can do. Raises DataError naming the first thing that does not fit,
    UnsupportedError if there is no journal.
    """
    events = read_journal(bundle.witness / "train" / "journal-rank0.jsonl")
    if not events:
        raise UnsupportedError("the witness has no journal of a training")
    _check_losses(bundle, events)
    _check_starts(events, first=bundle.first_step)
    if not (bundle.witness / COST).is_file():
        raise UnsupportedError("the witness does not tell what the run cost")
    check_plausible(bundle.read_json(COST), json.loads((bundle.witness / COST).read_bytes()))
    return f"the journal tells of all {len(bundle.ledger) - 1} steps with the ledger's losses, and its cost is possible"


def _check_losses(bundle: Bundle, events: Sequence[Event]) -> None:
    """The last time that a step was taken, its loss was the ledger's."""
    said = {event["step"]: event["loss"] for event in events if event["event"] == STEPPED}
    # A kill may take the last line of a journal, where keepers still hold the step's state.
    resumed = {event["step"] for event in events if event["event"] in BEGUN}
    for line in bundle.ledger[1:]:
        step, loss = line["step"], float.fromhex(line["loss"])
        if step not in said and step in resumed:
            continue
        if step not in said:
            raise DataError(f"the witness's journal does not tell of step {step}, which is in the ledger")
        if said[step] != loss:
            raise DataError(f"the witness's journal gives step {step} loss {said[step]!r}, the ledger {loss!r}")
    beyond = next((step for step in said if step > bundle.first_step + len(bundle.ledger) - 1), None)
    if beyond is not None:
        raise DataError(f"the witness's journal tells of step {beyond}, beyond the ledger's last")


def _check_starts(events: Sequence[Event], *, first: int) -> None:
    """Steps follow each other but where the run was started again, or went back and said so."""
    expected = first + 1
    for event in events:
        if event["event"] in BEGUN:
            expected = max(first, event["step"]) + 1
        elif event["event"] == RETURNED:
            expected = event["to"] + 1
        elif event["event"] == STEPPED:
            if event["step"] != expected:
                raise DataError(
                    f"the witness's journal goes on with step {event['step']} where {expected} follows, and tells of "
                    "no start in between"
                )
            expected += 1


def told_of_run(bundle: Bundle) -> str:
    """What the witness says of starts and ranks; placement, so no part of a verdict."""
    events = read_journal(bundle.witness / "train" / "journal-rank0.jsonl")
    starts = sum(event["event"] == STARTED for event in events)
    redone = sum(event["event"] == STEPPED for event in events) - len(bundle.ledger) + 1
    ended = sum(event.get("event") == "generation.ended" for event in read_journal(bundle.witness / LAUNCHER))
    return f"{starts} starts, {redone} steps done again, {ended} ends noted by the launcher"
