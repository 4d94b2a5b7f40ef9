"""Notes to the launcher, and processes that do not outlive it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.codetree import ROOT
from core.notes import DIE_WITH_PARENT, FOLDER, leave_beat, leave_exit, leave_work, read_notes

OBEDIENT = """
import os, sys, time
from core.notes import obey_launcher
obey_launcher()
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = """
import os, subprocess, sys
command = [sys.executable, "-c", sys.argv[1]]
environment = {**os.environ, "WHOLEGRAIN_DIE_WITH_PARENT": sys.argv[2] or str(os.getpid())}
subprocess.Popen(command, env=environment, start_new_session=True).wait()
"""


def started(*, source: str = OBEDIENT, launcher: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, source, launcher],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_alive(pid: int) -> bool:
    # A zombie has no command line any more.
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_dies_with_its_parent_though_it_has_a_session_of_its_own() -> None:
    parent = started()
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    wait_until(lambda: not is_alive(child))
    parent.communicate()


def test_without_the_launcher_s_wish_a_process_lives_on() -> None:
    parent = started(source="import os\ndel os.environ['WHOLEGRAIN_DIE_WITH_PARENT']\n" + OBEDIENT)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    try:
        assert is_alive(child)
    finally:
        os.kill(child, signal.SIGKILL)
        parent.communicate()


def test_a_process_that_starts_after_its_launcher_has_ended_refuses_to_run() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    parent = started(launcher=str(gone.pid))
    _, stderr = parent.communicate(timeout=120)
    assert f"the launcher, process {gone.pid}, has ended already" in stderr


def test_a_rank_leaves_its_last_step_and_its_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setattr("core.notes._first_beat", {})
    for step in (7, 8, 9):
        leave_beat(step)
    leave_work(tmp_path / "aside")
    leave_exit(66, "bad shard")
    beat = read_notes(tmp_path, "beat")[3]
    assert (beat["pid"], beat["first_step"], beat["step"]) == (os.getpid(), 7, 9)
    assert beat["first_time"] <= time.time()
    assert read_notes(tmp_path, "work") == {3: {"pid": os.getpid(), "folder": str(tmp_path / "aside")}}
    assert read_notes(tmp_path, "exit") == {3: {"pid": os.getpid(), "exit_code": 66, "message": "bad shard"}}


def test_without_a_launcher_no_note_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.delenv(DIE_WITH_PARENT, raising=False)
    monkeypatch.chdir(tmp_path)
    leave_beat(1)
    assert list(tmp_path.iterdir()) == []
