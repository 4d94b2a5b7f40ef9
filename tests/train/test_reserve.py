"""A full disk: the reserve carries the next checkpoint, then one line says so, and nothing committed is lost."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.durable import told_full_disks
from core.errors import RetryError
from tests.disks import small_disk
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, events, finished_folder, result_of, unfinished_folder
from train.checkpoint import allocate_files
from train.reserve import Reserve, sweep_reserves
from train.run import main
from train.store import layouts_of, list_checkpoints, open_checkpoint

DISK_BYTES = 16 << 20
SMALL = layouts_of({"w": (256, 1024), "exp_avg.w": (256, 1024)})
LEFT_FREE = 64 << 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    with small_disk(tmp_path, size_bytes=DISK_BYTES) as folder:
        yield folder


def fill(folder: Path) -> None:
    """Leave almost nothing of a disk."""
    with (folder / "filler").open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(folder).free - LEFT_FREE)


def test_the_reserve_carries_a_checkpoint_on_a_disk_that_is_full_since(disk: Path) -> None:
    reserve = Reserve(disk, SMALL, generation=1)
    assert reserve.hold()
    fill(disk)
    with pytest.raises(OSError, match="No space left"):
        allocate_files(disk / "without", SMALL)
    shutil.rmtree(disk / "without")
    reserve.take(disk / "aside")
    assert {path.name: path.stat().st_size for path in (disk / "aside").glob("*.safetensors")} == {
        name: layout.size for name, layout in SMALL.items()
    }
    assert not reserve.hold()
    with pytest.raises(RetryError, match=r"has [\d,]+ bytes left, the next checkpoint takes 2,0\d\d,\d+; free some"):
        reserve.take(disk / "next")
    assert sorted(path.name for path in disk.iterdir()) == ["aside", "filler"]


def test_a_reserve_that_a_killed_process_held_is_given_back(tmp_path: Path) -> None:
    assert Reserve(tmp_path, SMALL, generation=1).hold()
    sweep_reserves(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_a_lack_of_room_is_told_as_one(tmp_path: Path) -> None:
    with pytest.raises(RetryError, match="no room on the disk"), told_full_disks(tmp_path):
        Path("/dev/full").write_bytes(b"x")
    with pytest.raises(FileNotFoundError), told_full_disks(tmp_path):
        (tmp_path / "none").read_bytes()


def test_a_run_on_a_full_disk_stops_with_one_line_and_goes_on_when_there_is_room(
    tiny: Tiny, disk: Path, tmp_path: Path
) -> None:
    arguments = ("train.steps=12", "train.save_every_steps=4")
    whole = run_ranks(1, main, [tiny.arguments(tmp_path / "whole", *arguments)], notes=tmp_path / "notes")
    assert whole.exit_codes == [0], whole.messages
    killed = run_ranks(2, main, [tiny.arguments(disk, *arguments)], notes=tmp_path / "notes", kill=(1, 6))
    assert killed.exit_codes[1] == -9
    fill(disk)
    before = {path: open_checkpoint(path).position for path in checkpoints_on(disk)}
    ended = run_ranks(2, main, [tiny.arguments(disk, *arguments)], notes=tmp_path / "notes")
    assert ended.exit_codes == [75, 75]
    assert any(
        "free some and start the run again: all that was committed is kept" in m for m in ended.messages.values()
    )
    assert before.items() <= {path: open_checkpoint(path).position for path in checkpoints_on(disk)}.items()
    (disk / "filler").unlink()
    ended = run_ranks(2, main, [tiny.arguments(disk, *arguments)], notes=tmp_path / "notes")
    assert ended.exit_codes == [0, 0], ended.messages
    assert result_of(disk) == result_of(tmp_path / "whole")
    assert events(finished_folder(disk), "disk.full")
    assert not list((finished_folder(disk) / "checkpoints").glob(".*"))


def checkpoints_on(disk: Path) -> list[Path]:
    return list(list_checkpoints(unfinished_folder(disk) / "checkpoints").values())
