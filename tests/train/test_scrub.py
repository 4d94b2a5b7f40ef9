"""The scrubber finds damage beside a run, and the run puts it where no recovery meets it."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.codetree import ROOT
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, events, unfinished_folder
from tests.train.test_checkpoint import commit, tensors
from tests.train.test_records import flip_bit
from train.run import main
from train.scrub import Scrubber, faults
from train.store import list_checkpoints

DEADLINE_S = 120.0


def test_what_is_sound_is_no_fault_and_what_is_damaged_is_one(tmp_path: Path) -> None:
    for step in (4, 8, 12):
        commit(tmp_path, tensors(), step=step)
    checkpoints = tmp_path / "checkpoints"
    assert list(faults(checkpoints)) == []
    flip_bit(checkpoints / "step-000008" / "optimizer.safetensors")
    (found,) = faults(checkpoints)
    assert found.step == 8
    assert "damaged in chunk 0 of exp_avg_sq.weight" in found.fault


def test_damage_that_comes_later_is_told_once_by_a_process_that_needs_no_torch(tmp_path: Path) -> None:
    checkpoints = commit(tmp_path, tensors()).folder.parent
    scrubber = Scrubber(checkpoints, pause_s=0.01)
    try:
        flip_bit(checkpoints / "step-000004" / "model.safetensors")
        deadline = time.monotonic() + DEADLINE_S
        found = scrubber.found()
        while not found and time.monotonic() < deadline:
            found = scrubber.found()
        assert [one.step for one in found] == [4]
    finally:
        scrubber.stop()
    script = "import sys; import train.scrub; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_the_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "train", "scrub", str(tmp_path), "3600"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0


def test_a_run_puts_a_damaged_checkpoint_away_and_goes_back_when_it_is_kept(tiny: Tiny, tmp_path: Path) -> None:
    arguments = ("train.steps=4000", "train.save_every_steps=4", "train.keep_every_steps=8", "train.keep_newest=1000")

    def damage() -> None:
        """Flip a bit in a checkpoint that is not kept, and in one that is when the first has been found."""
        for step, awaited in ((4, "step-000008"), (8, "witness/damaged/step-000004-1")):
            deadline = time.monotonic() + DEADLINE_S
            while not list(tmp_path.glob(f".train-*.part/**/{awaited.removeprefix('witness/damaged/')}")):
                assert time.monotonic() < deadline
                threading.Event().wait(0.01)
            flip_bit(unfinished_folder(tmp_path) / "checkpoints" / f"step-{step:06d}" / "model.safetensors")

    damager = threading.Thread(target=damage)
    damager.start()
    run = tiny.arguments(tmp_path, "train.scrub_every_s=0.01", *arguments)
    ended = run_ranks(1, main, [run], notes=tmp_path / "notes")
    damager.join()
    assert ended.exit_codes == [75], ended.messages
    assert ended.messages[0].startswith("the scrubber found a damaged checkpoint that the artifact keeps")
    folder = unfinished_folder(tmp_path)
    assert [event["step"] for event in events(folder, "checkpoint.refused")] == [4, 8]
    assert sorted(path.name for path in (folder / "witness" / "damaged").iterdir()) == [
        "step-000004-1",
        "step-000008-1",
    ]
    assert not {4, 8} & list_checkpoints(folder / "checkpoints").keys()
