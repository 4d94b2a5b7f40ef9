"""A coordinator that reads its predecessor's journal knows what it knew."""

from pathlib import Path
from typing import Any

import pytest

from launch.decide import Failure, Kind
from launch.history import History

SUSPECT = {"step": 4, "index": 1, "rank": 0, "node": "a", "said": "x", "found": "y", "auditor": "b"}
KNOWN = (
    *("generation", "seated", "is_running", "best_step", "idle_restarts", "causes"),
    *("void_after", "suspect", "sound", "voids"),
)


def _known(history: History) -> dict[str, Any]:
    return {name: getattr(history, name) for name in (*KNOWN, "is_searching")}


def _failed(history: History, step: int = 5) -> None:
    failure = Failure(kind=Kind.CRASH, node="a", rank=1, step=step, code=-9)
    history.fail(failure, action="restart", reason="it was killed")
    history.record("halted", why="it was killed")


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A run whose first generation is at work."""
    made = History(tmp_path)
    made.record("started")
    made.record("generation.began", generation=1, seated=["a", "b"], void_after=-1)
    return made


def test_the_next_one_knows_the_same(history: History, tmp_path: Path) -> None:
    assert history.is_running and _known(History(tmp_path)) == _known(history)
    _failed(history)
    assert not history.is_running and history.idle_restarts == 1
    assert _known(History(tmp_path)) == _known(history)
    history.record("generation.began", generation=2, seated=["c", "b"], void_after=-1)
    history.progress(6)
    assert (history.idle_restarts, history.causes, history.best_step) == (0, [], 6)
    assert _known(History(tmp_path)) == _known(history)


def test_a_line_that_was_torn_is_passed_over(history: History, tmp_path: Path) -> None:
    with history.path.open("a") as stream:
        stream.write('{"time": 1.0, "event": "generation.began", "gener')
    assert History(tmp_path).generation == 1


def test_an_audit_goes_on_where_it_was(history: History, tmp_path: Path) -> None:
    history.record("audit.differs", **SUSPECT)
    assert History(tmp_path).suspect == SUSPECT
    history.record("audit.voted", **SUSPECT, voter="c", voted="y", liar="a")
    assert (History(tmp_path).suspect, History(tmp_path).is_searching) == (None, True)
    history.record("window.replayed", start=0, until=4, node="c", difference="")
    history.record("window.replayed", start=4, until=8, node="c", difference="step 5, field loss")
    assert History(tmp_path).sound == {(0, 4)}
    history.record("rolled back", after=4)
    assert (History(tmp_path).void_after, History(tmp_path).is_searching) == (4, False)
    assert History(tmp_path).voids == [(2, 4)]
    history.record("void.gone")
    assert (History(tmp_path).void_after, History(tmp_path).voids) == (-1, [(2, 4)])


def test_a_window_behind_the_first_wrong_one_is_not_sound_for_ever(history: History) -> None:
    for start in (0, 4, 8):
        history.record("window.replayed", start=start, until=start + 4, node="c", difference="x" if start == 4 else "")
    history.record("rolled back", after=4)
    assert history.sound == {(0, 4)}


@pytest.mark.parametrize(("auditor", "is_searching"), [("c", False), ("b", True)])
def test_an_auditor_that_lied_has_lied_before_only_if_it_has_trained(
    history: History, auditor: str, is_searching: bool
) -> None:
    suspect = {**SUSPECT, "auditor": auditor}
    history.record("audit.differs", **suspect)
    history.record("audit.voted", **suspect, voter="d", voted="x", liar=auditor)
    assert (history.suspect, history.is_searching) == (None, is_searching)


def test_a_new_launch_begins_with_a_clean_slate_but_for_what_was_never_settled(history: History) -> None:
    _failed(history)
    history.record("audit.differs", **SUSPECT)
    history.record("started")
    assert (history.idle_restarts, history.causes, history.seated, history.generation) == (0, [], [], 1)
    assert history.suspect is None and history.is_searching
