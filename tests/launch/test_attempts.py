"""Attempts are counted by progress, over whatever starts them."""

from pathlib import Path

import pytest

from core.errors import DataError, DeterministicError
from core.journal import read_journal
from launch.attempts import RECORD, State, count, state_of


def test_attempts_with_progress_are_never_too_many(tmp_path: Path) -> None:
    for step in range(0, 40, 4):
        count(tmp_path, State("", step), most=1)
    began = [event["step"] for event in read_journal(tmp_path / "journal.jsonl") if event["event"] == "attempt.began"]
    assert began == list(range(0, 40, 4))


def test_a_loop_without_progress_ends_and_may_be_begun_anew(tmp_path: Path) -> None:
    for _ in range(3):
        count(tmp_path, State("", 8), most=2)
    with pytest.raises(DeterministicError, match=r"^3 attempts brought no progress after step 8; "):
        count(tmp_path, State("", 8), most=2)
    count(tmp_path, State("", 8), most=2)


def test_one_step_forward_starts_the_count_again(tmp_path: Path) -> None:
    for step in (8, 8, 9, 9, 10, 10):
        count(tmp_path, State("", step), most=1)


def test_a_finished_run_is_no_attempt(tmp_path: Path) -> None:
    count(tmp_path, State("", 8), most=2)
    count(tmp_path, State("/runs/train-1", -1), most=2)
    assert not (tmp_path / RECORD).exists()


def test_what_the_stage_cannot_say_is_its_error(tiny_recipe: Path) -> None:
    with pytest.raises(DataError, match="stage pack has not been run"):
        state_of(str(tiny_recipe), [])
