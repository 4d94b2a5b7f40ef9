"""Hearts: what a watcher sees, and how long a phase may last."""

import time
from pathlib import Path

import pytest

from core.heart import Heart, Pulse, limit_s


def test_a_watcher_sees_where_a_rank_is(tmp_path: Path) -> None:
    heart = Heart(tmp_path / "heart")
    pulse = Pulse(tmp_path / "heart")
    assert (pulse.beat().step, pulse.beat().phase) == (0, "start")
    heart.enter("compute", 1)
    heart.enter("reduce", 1)
    seen = pulse.beat()
    assert (seen.step, seen.phase, seen.beats) == (1, "reduce", 2)
    assert pulse.beat() == seen


def test_a_heart_beats_before_it_can_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    replace = Path.replace

    def look(aside: Path, target: Path) -> Path:
        seen.append(Pulse(aside).beat().since_s)
        return replace(aside, target)

    monkeypatch.setattr(Path, "replace", look)
    before = time.monotonic()
    Heart(tmp_path / "heart")
    assert seen and seen[0] >= before


def test_the_last_durations_of_a_phase_are_known(tmp_path: Path) -> None:
    heart = Heart(tmp_path / "heart")
    for step in range(100):
        heart.enter("compute", step)
        heart.enter("update", step)
    pulse = Pulse(tmp_path / "heart")
    assert len(pulse.durations_s("compute")) == 64
    assert all(0 <= seconds < 10 for seconds in pulse.durations_s("compute"))
    assert pulse.durations_s("log") == []


LIMITS = [
    # durations; the limit for floor 3, factor 10, first 100
    ([], 100.0),
    ([0.1] * 64, 3.0),
    ([1.0] * 64, 10.0),
    ([0.1] * 63 + [2.0], 20.0),
]


@pytest.mark.parametrize(("durations", "limit"), LIMITS)
def test_a_phase_may_last_as_long_as_it_has_been_seen_to(durations: list[float], limit: float) -> None:
    assert limit_s(durations, floor_s=3.0, factor=10.0, first_s=100.0) == pytest.approx(limit)
