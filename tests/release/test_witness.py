"""The journals in the witness against the ledger."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError
from release.contents import Bundle
from release.cost import COST
from release.verdict import UnsupportedError
from release.witness import LAUNCHER, told_of_run, witness
from tests.release.forgery import edit_json

JOURNAL = "train/journal-rank0.jsonl"
Events = list[dict[str, Any]]


def rewrite(bundle: Bundle, change: Callable[[Events], Events]) -> None:
    path = bundle.witness / JOURNAL
    events = change([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def test_journals_of_launcher_and_ranks_are_inside_and_name_no_host(bundle: Bundle) -> None:
    assert {path.name for path in (bundle.witness / "train").glob("journal-*")} == {
        "journal-rank0.jsonl",
        "journal-rank1.jsonl",
    }
    events = [json.loads(line) for line in (bundle.witness / LAUNCHER).read_text().splitlines()]
    assert {"drill.struck", "generation.ended"} <= {event["event"] for event in events}
    hosts = {event["host"] for path in bundle.witness.rglob("*.jsonl") for event in _lines(path) if "host" in event}
    assert hosts == {"host 0"}


def test_an_interrupted_runs_journals_fit_its_ledger(bundle: Bundle) -> None:
    assert "tells of all 12 steps with the ledger's losses" in witness(bundle)
    assert told_of_run(bundle).startswith("2 starts, ")


def test_another_loss_in_the_journal_is_named(bundle: Bundle) -> None:
    rewrite(bundle, lambda events: [{**e, "loss": 3.0} if e.get("step") == 7 and "loss" in e else e for e in events])
    with pytest.raises(DataError, match=r"gives step 7 loss 3\.0, the ledger 5\."):
        witness(bundle)


def test_a_step_that_the_journal_lacks_is_named(bundle: Bundle) -> None:
    rewrite(bundle, lambda events: [event for event in events if event.get("step") != 11])
    with pytest.raises(DataError, match="does not tell of step 11"):
        witness(bundle)


def test_a_start_that_was_taken_out_shows(bundle: Bundle) -> None:
    rewrite(bundle, lambda events: [event for event in events if event["event"] != "run.resumed"])
    with pytest.raises(DataError, match=r"goes on with step 5 where \d follows, and tells of no start"):
        witness(bundle)


def test_a_step_beyond_the_ledgers_last_shows(bundle: Bundle) -> None:
    rewrite(bundle, lambda events: [*events, {**events[-2], "event": "step.finished", "step": 13, "loss": 1.0}])
    with pytest.raises(DataError, match="step 13, beyond the ledger's last"):
        witness(bundle)


def test_a_bundle_without_journals_is_unsupported_and_not_failed(bundle: Bundle) -> None:
    (bundle.witness / JOURNAL).unlink()
    with pytest.raises(UnsupportedError, match="no journal of a training"):
        witness(bundle)


def test_hours_in_which_no_device_could_have_done_it_fail(bundle: Bundle) -> None:
    said = json.loads((bundle.witness / COST).read_bytes())
    rows = [{**row, "value": 1e-12} if row["name"] == "device_hours" else row for row in said["values"]]
    edit_json(bundle.witness / COST, values=rows)
    with pytest.raises(DataError, match=r"no core does more than 1e\+13"):
        witness(bundle)


def _lines(path: Path) -> Events:
    return [json.loads(line) for line in path.read_text().splitlines()]
