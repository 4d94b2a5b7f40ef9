"""Processes that carry a mark are found and ended, whoever their parent is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from core.notes import FOLDER
from launch.local import is_marked, kill_marked, marked, sweep
from tests.launch.conftest import wait_until

# A process that leaves its parent and its session behind, as a daemon does, and tells its process id.
DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def daemon(notes: Path | None) -> int:
    env = {**os.environ, **({FOLDER: str(notes)} if notes else {})}
    process = subprocess.Popen([sys.executable, "-c", DAEMON], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.wait()
    process.stdout.close()
    return pid


def test_a_process_that_has_left_parent_and_session_is_found_by_its_mark_and_ended(tmp_path: Path) -> None:
    mine, other = daemon(tmp_path / "mine"), daemon(tmp_path / "mine-too")
    try:
        assert marked(tmp_path / "mine") == [mine]
        assert kill_marked(tmp_path / "mine") == [mine]
        assert not is_marked(mine, tmp_path / "mine") and is_marked(other, tmp_path / "mine-too")
        assert kill_marked(tmp_path / "mine") == []
    finally:
        os.kill(other, signal.SIGKILL)


def test_the_next_launch_ends_what_an_earlier_one_has_left_in_its_folder(tmp_path: Path) -> None:
    notes = tmp_path / ".notes-old"
    notes.mkdir()
    left, foreign = daemon(notes), daemon(None)
    try:
        assert sweep(tmp_path) == [left]
        wait_until(lambda: not is_marked(left, notes), "it has ended")
        assert not notes.exists() and Path(f"/proc/{foreign}").exists()
        assert sweep(tmp_path) == []
    finally:
        os.kill(foreign, signal.SIGKILL)
