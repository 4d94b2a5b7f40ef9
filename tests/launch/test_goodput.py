"""Where a run's time went: counted by hand for a small history, and for every second of others."""

from typing import Any

import pytest

from core.errors import DataError
from launch.account import Kind
from launch.goodput import Event, as_json, as_table, count


def started(time: float, ranks: int = 2) -> Event:
    return {"time": time, "event": "run.started", "world_size": ranks}


def step(number: int, time: float, seconds: float = 10.0, step_seconds: float = 9.0) -> Event:
    return {
        **{"time": time, "event": "step.finished", "step": number, "tokens_per_s": 100 / seconds},
        **{"seconds": seconds, "step_seconds": step_seconds},
    }


def outside(name: str, time: float, **facts: Any) -> Event:
    return {"time": time, "event": name, **facts}


# A start at 100; steps 1 to 3; a fault at 144, seen at 150; one rank of two from 180 on, which does step 3 again.
RANK = [
    *(started(110), step(1, 120), step(2, 130), step(3, 140)),
    *(started(190, ranks=1), step(3, 210, seconds=15), step(4, 230, seconds=15)),
    outside("run.finished", 236),
]
OUTSIDE = [
    *(outside("attempt.began", 100), outside("drill.struck", 144)),
    *(outside("attempt.ended", 150), outside("attempt.began", 180)),
]
BY_HAND = {
    Kind.STEP: 9 + 9 + 4.5 + 4.5,
    # One second in each of three steps; the 6 s around each of two others; 5 s between those; 6 s at the end.
    Kind.STALL: 1 + 1 + 1 + 6 + 6 + 5 + 6,
    Kind.REDO: 9 + 4,
    Kind.DETECT: 6,
    Kind.WAIT: 30,
    Kind.RESTART: 10 + 15,
    Kind.SHRUNK: 4.5 + 4.5,
}


def test_a_small_history_is_counted_as_by_hand() -> None:
    found = count(RANK, OUTSIDE)
    assert found.account.seconds == pytest.approx(BY_HAND)
    assert found.account.total == pytest.approx(236 - 100)
    assert (found.lives, found.steps, found.redone, found.is_finished) == (2, 4, 1, True)
    assert found.tokens == pytest.approx(400)


def test_steps_that_are_brought_back_from_memory_were_not_lost() -> None:
    computed = [step(number, 10.0 * number + 10) | {"compute_seconds": 5.0} for number in (1, 2, 3)]
    replayed = [step(number, 46.0 + number, seconds=1, step_seconds=0) | {"compute_seconds": 0.0} for number in (2, 3)]
    later = [step(4, 60.0) | {"compute_seconds": 5.0}, outside("run.finished", 60.0)]
    found = count([started(10), *computed, started(46), *replayed, *later], [outside("failed", 44, action="restart")])
    seconds = found.account.seconds
    assert (found.steps, found.redone, found.first_start_s) == (4, 0, 0)
    assert seconds[Kind.STEP] == pytest.approx(4 * 9)
    # Between the start and the first step that is computed: 2 s, two replays, 2 s.
    assert seconds[Kind.RESTART] == pytest.approx(6)
    assert seconds[Kind.REDO] == 0


def test_a_crash_loop_does_not_look_productive() -> None:
    loop = [
        event for start in range(0, 500, 50) for event in (started(start), step(1, start + 20), step(2, start + 30))
    ]
    marks = [outside("generation.ended", start + 31.0, stage="train", action="restart") for start in range(0, 500, 50)]
    found = count(loop, marks)
    assert (found.steps, found.redone) == (2, 18)
    assert found.account.seconds[Kind.STEP] == pytest.approx(18)
    assert found.account.seconds[Kind.REDO] == pytest.approx(9 * 18)
    assert found.account.total == pytest.approx(481)


def test_a_run_that_was_stopped_and_taken_up_later_has_waited() -> None:
    rank = [started(0), step(1, 20), started(1000), step(2, 1020), outside("run.finished", 1021)]
    assert count(rank, []).account.seconds[Kind.WAIT] == pytest.approx(980)
    stopped = [outside("generation.ended", 22, stage="train", action="stop")]
    assert count(rank, stopped).account.seconds[Kind.WAIT] == pytest.approx(978)
    restarted = [outside("generation.ended", 22, stage="train", action="restart")]
    assert count(rank, restarted).account.seconds[Kind.WAIT] == 0


def test_a_launch_under_keepers_that_is_lost_whole_was_not_being_detected_while_the_next_one_started() -> None:
    rank = [started(0), step(1, 20), started(100), step(2, 120), outside("run.finished", 121)]
    lost = [outside("fault.injected", 25), outside("started", 40), outside("generation.began", 90)]
    seconds = count(rank, lost).account.seconds
    assert (seconds[Kind.DETECT], seconds[Kind.WAIT]) == (15, 0)
    assert seconds[Kind.RESTART] == pytest.approx(10 + 70)
    asked = [outside("ended", 25, code=143), outside("started", 40), outside("generation.began", 90)]
    seconds = count(rank, asked).account.seconds
    assert (seconds[Kind.DETECT], seconds[Kind.WAIT]) == (5, 15)


@pytest.mark.parametrize("missing", range(len(OUTSIDE)))
def test_no_second_is_lost_or_counted_twice_where_a_mark_is_missing(missing: int) -> None:
    marks = OUTSIDE[:missing] + OUTSIDE[missing + 1 :]
    found = count(RANK, marks)
    assert found.account.total == pytest.approx(236 - (100 if missing else 110))
    assert min(found.account.seconds.values()) >= 0


def test_clocks_that_disagree_a_little_give_no_negative_time() -> None:
    found = count([started(10), step(1, 12, seconds=8), step(2, 19), outside("run.finished", 18)], [])
    assert min(found.account.seconds.values()) >= 0


def test_without_a_start_there_is_nothing_to_count() -> None:
    with pytest.raises(DataError, match="tells of no start"):
        count([step(1, 20)], [])


def test_it_reads_well() -> None:
    table = as_table(count(RANK, OUTSIDE))
    assert "step      27.0 s      19.9 %\n" in table and "all       2 min 16 s  100.0 %\n" in table
    assert "19.9 % of the time was spent on steps that stay" in table
    assert '"steps": 4, "redone": 1' in as_json(count(RANK, OUTSIDE))
