"""The walk through the stages, with a real torchrun and real signals."""

import os
import signal
from pathlib import Path

import pytest

from core.errors import RetryError
from launch.pipeline import alone
from tests.launch.conftest import House, wait_until
from tests.launch.test_supervise import committed, endings

DRILL = ("launch.kill_rank=1", "launch.kill_at_step=6", "train.hold_at=7")


def test_torchrun_ranks_die_with_a_killed_launcher_and_the_next_run_goes_on_through_the_drill(house: House) -> None:
    with house.held():
        first = house.start("launch", str(house.recipe), "train.hold_at=3")
        wait_until(lambda: committed(house) == 2, "step 2 is committed")
        assert len(house.alive()) == 4, "the launcher, torchrun and two ranks"
        first.kill()
        first.communicate()
        wait_until(lambda: not house.alive(), "every process has ended")
        process = house.start("launch", str(house.recipe), *DRILL)
        wait_until(house.struck, "the drill has struck")
    done = house.finish(process)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("[")] == [
        *("[1/4] one", "[2/4] train"),
        *("[3/4] bundle", "[4/4] verify"),
    ]
    assert "survived         rank 1 killed by SIGKILL at step" in done.stdout
    assert [end["stage"] for end in endings(house.out)][1:] == ["one", "train", "train", "bundle", "verify"]
    # Neither torchrun's report about the dead rank nor that of a peer is shown: the drill is no failure.
    assert "Traceback" not in done.stderr and "ChildFailedError" not in done.stderr
    assert list(house.out.glob(".notes-*")) == []

    again = house.run(*DRILL)
    assert again.returncode == 0 and "killed rank" not in again.stderr
    times = [line.split("  ")[-2].strip() for line in again.stdout.split("\n\n")[0].splitlines()[1:]]
    assert times == ["found"] * 4
    assert again.stdout.partition("\n\n")[2] == done.stdout.partition("\n\n")[2]


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_an_interrupt_of_a_stage_of_one_process_leaves_nothing_running(
    house: House, number: int, exit_code: int
) -> None:
    process = house.start("launch", str(house.recipe), "train.pace_s=60")
    wait_until(lambda: list(house.out.glob(".one-*.part")), "stage one is at work")
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == exit_code and "Traceback" not in stderr
    wait_until(lambda: not house.alive(), "every process has ended")


def test_a_killed_stage_is_started_again(house: House) -> None:
    with house.held():
        process = house.start("launch", str(house.recipe), "train.hold_at=0")
        wait_until(lambda: list(house.out.glob(".one-*.part")), "stage one is at work")
        (stage,) = [pid for pid in house.alive() if b"\0one\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(stage, signal.SIGKILL)
    wait_until(lambda: len(endings(house.out)) >= 2, "stage one has been done again")
    assert [end["action"] for end in endings(house.out)][:2] == ["restart", "finish"]
    process.terminate()
    stderr = process.communicate(timeout=120)[1]
    assert "one: it was killed by SIGKILL; starting it again" in stderr


def test_two_launches_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(RetryError, match="another launch works in"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass
