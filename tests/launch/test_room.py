"""What must be written waits for room on a full disk, for a time, and then says so in one line."""

import errno
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import RetryError
from core.journal import read_journal
from launch.history import History
from launch.room import write_patiently
from tests.disks import small_disk

DISK_BYTES = 256 << 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    with small_disk(tmp_path, size_bytes=DISK_BYTES) as folder:
        yield folder


def test_a_coordinators_journal_waits_on_a_full_disk_and_loses_no_line(disk: Path) -> None:
    history = History(disk)
    history.record("started")
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space left"):
        while True:
            stream.write(bytes(1 << 10))
    free = threading.Timer(0.5, filler.unlink)
    free.start()
    # Longer than what is left of the journal's last page.
    history.record("halted", why="x" * 8192)
    free.join()
    assert [line["event"] for line in read_journal(history.path)] == ["started", "halted", "journal.waited"]


def test_it_does_not_wait_for_ever_nor_for_anything_else() -> None:
    def write(number: int) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(RetryError, match=r"no room on the disk of there for 0 s; free some"):
        write_patiently(lambda: write(errno.ENOSPC), "there", wait_s=0.0)
    with pytest.raises(PermissionError):
        write_patiently(lambda: write(errno.EACCES), "there")


def test_a_line_behind_a_torn_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps({"time": 1.0, "event": "started"}) + '\n{"time": 2.0, "ev')
    History(tmp_path).record("halted", why="x")
    assert [line["event"] for line in read_journal(path)] == ["started", "halted"]
