"""The journal: one line an event, whatever a kill has torn."""

import json
from pathlib import Path

import pytest

from core.journal import Journal, read_journal


def test_an_event_is_recorded_with_its_facts_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(tmp_path / "j", rank=1, generation=2)
    journal.event("checkpoint.saved", step=400, seconds=1.23456789)
    journal.record("step.done", step=401)
    first, second = read_journal(tmp_path / "j")
    assert first | {"time": 0} == {
        **{"time": 0, "event": "checkpoint.saved", "rank": 1, "generation": 2},
        **{"step": 400, "seconds": 1.23456789},
    }
    assert second["step"] == 401
    assert capsys.readouterr().err == "checkpoint.saved: step 400, seconds 1.235\n"


def test_a_silent_journal_and_one_without_a_file_do_half_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Journal(tmp_path / "j", is_speaking=False).event("a.b")
    assert capsys.readouterr().err == "" and len(read_journal(tmp_path / "j")) == 1
    Journal(None).event("a.b")
    assert capsys.readouterr().err == "a.b\n"


def test_a_journal_goes_on_behind_a_torn_line_without_losing_the_next(tmp_path: Path) -> None:
    text = "line\u2028separator, é"
    Journal(tmp_path / "j", is_speaking=False).event("one", text=text)
    whole = (tmp_path / "j").read_bytes()
    for cut in range(1, len(whole)):
        (tmp_path / "j").write_bytes(whole + whole[:cut])
        Journal(tmp_path / "j", is_speaking=False).event("three")
        events = [line["event"] for line in read_journal(tmp_path / "j")]
        # A line that lacks nothing but its end is whole.
        assert events == (["one", "one", "three"] if cut == len(whole) - 1 else ["one", "three"])
    assert json.loads(whole)["text"] == text


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "j") == []
