"""Real ranks that fail in every way; an agent that behaves as torchrun does, but starts quickly."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from core.artifact import current
from core.journal import read_journal
from tests.launch.conftest import House, wait_until


def endings(out: Path) -> list[dict[str, Any]]:
    return [line for line in read_journal(out / "journal.jsonl") if line["event"] == "generation.ended"]


def drill_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "witness" / "drill.json").read_text())
    return record


def committed(house: House) -> int:
    marks = list(house.out.glob(".train-*.part/committed"))
    return int(marks[0].read_text()) if marks else 0


def test_ranks_that_end_well_are_started_once(house: House) -> None:
    done = house.run(verb="supervised")
    assert (done.returncode, done.stdout) == (0, "made\n"), done.stderr
    assert [end["action"] for end in endings(house.out)] == ["finish"]
    assert house.run(verb="supervised").stdout == "found\n"


def test_a_killed_rank_is_followed_by_a_generation_that_ends_with_the_same_artifact(house: House) -> None:
    undisturbed = house.out / "undisturbed"
    assert house.run(f"run.out={undisturbed}", verb="supervised").returncode == 0
    done = house.run("train.rank=0", "train.step=5", "train.how=kill", verb="supervised")
    assert (done.returncode, done.stdout) == (0, "made\n"), done.stderr
    assert "train: rank 0 died without a word; starting it again, from what is committed" in done.stderr
    assert [end["action"] for end in endings(house.out)] == ["restart", "finish"]
    assert current(house.out, "train").digest == current(undisturbed, "train").digest


def test_a_rank_that_hangs_is_ended_though_its_agent_would_wait(house: House) -> None:
    done = house.run("train.rank=1", "train.step=3", "train.how=hang", "launch.stall_s=2", verb="supervised")
    assert done.returncode == 0, done.stderr
    assert "no rank finished a step for too long" in done.stderr
    assert house.alive() == []


def test_what_would_fail_again_ends_the_run_with_the_rank_s_own_code_and_words(house: House) -> None:
    done = house.run("train.rank=1", "train.step=3", "train.how='66'", "train.times=9", verb="supervised")
    assert done.returncode == 66
    assert done.stderr.splitlines()[-1] == "error: stage train: rank 1: as asked after step 3"
    assert [end["action"] for end in endings(house.out)] == ["give up"]


def test_a_rank_that_crashes_every_time_is_given_up_when_the_budget_is_spent(house: House) -> None:
    overrides = ["train.rank=0", "train.step=3", "train.how=bug", "train.times=9"]
    done = house.run(*overrides, "launch.max_restarts_without_progress=2", verb="supervised")
    assert done.returncode == 75
    assert [end["action"] for end in endings(house.out)] == ["restart", "restart", "give up"]
    assert "2 restarts brought no progress" in done.stderr.splitlines()[-1]


def test_a_run_that_gets_further_each_time_is_not_given_up(house: House) -> None:
    often = ["train.rank=1", "train.every=3", "train.how='75'", "train.times=9"]
    done = house.run(*often, "launch.max_restarts_without_progress=1", verb="supervised")
    assert done.returncode == 0, done.stderr
    assert [end["action"] for end in endings(house.out)] == ["restart", "restart", "restart", "finish"]


def test_the_drill_kills_one_rank_once_per_artifact_and_tells_what_followed(house: House) -> None:
    drill = ["launch.kill_rank=1", "launch.kill_at_step=5", "train.hold_at=7"]
    with house.held():
        process = house.start("supervised", str(house.recipe), *drill)
        wait_until(house.struck, "the drill has struck")
    done = house.finish(process)
    assert done.returncode == 0, done.stderr
    assert [end["action"] for end in endings(house.out)] == ["restart", "finish"]
    record = drill_of(current(house.out, "train").folder)
    assert record["rank"] == 1 and record["killed_at_step"] in (5, 6) and record["resumed_from"] in (4, 6)
    assert 0 < record["seconds"] < 10
    assert f"killed rank 1 with SIGKILL after step {record['killed_at_step']}" in done.stderr
    assert f"went on from step {record['resumed_from']}, {record['seconds']:.1f} s to the next step" in done.stderr
    again = house.run(*drill, verb="supervised")
    assert again.stdout == "found\n" and "killed" not in again.stderr


def test_the_drill_does_not_strike_again_after_an_interrupt(house: House) -> None:
    drill = ["launch.kill_rank=1", "launch.kill_at_step=3", "train.hold_at=5"]
    with house.held():
        first = house.start("supervised", str(house.recipe), *drill)
        wait_until(house.struck, "the drill has struck")
        first.send_signal(signal.SIGTERM)
        assert first.wait(120) == 143
    done = house.run(*drill, verb="supervised")
    assert done.returncode == 0 and "killed rank" not in done.stderr, done.stderr
    assert drill_of(current(house.out, "train").folder)["resumed_from"] is not None


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_an_interrupt_leaves_no_process_and_the_next_run_goes_on(house: House, number: int, exit_code: int) -> None:
    with house.held():
        process = house.start("supervised", str(house.recipe), "train.hold_at=5")
        wait_until(lambda: committed(house) == 4, "step 4 is committed")
        assert len(house.alive()) == 4, "the launcher, the agent and two ranks"
        process.send_signal(number)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == exit_code
        assert "Traceback" not in stderr
        wait_until(lambda: not house.alive(), "every process has ended")
    assert committed(house) == 4
    done = house.run(verb="supervised")
    assert (done.returncode, done.stdout) == (0, "made\n"), done.stderr
    assert "starting it again" not in done.stderr
