"""What stages write goes on to the terminal and is kept beside the run, within bounds."""

import os
import subprocess
import sys
from pathlib import Path

from launch.tee import FOLDER, FULL, MAX_BYTES, Tee

WRITES = "import os, sys; os.write(1, b'out\\n'); os.write(2, b'error\\n'); print(sys.stderr.isatty())"


def written(out: Path, source: str, *, target: int, is_made: bool = True) -> None:
    tee = Tee(out, "train", target=target)
    process = subprocess.Popen([sys.executable, "-u", "-c", source], stdout=tee.handle, stderr=tee.handle)
    tee.begin()
    assert process.wait(120) == 0
    tee.end(is_made=lambda: is_made)


def shown(out: Path, source: str, *, is_made: bool = True) -> bytes:
    """What reaches the place to which the launcher writes, a file here."""
    with (out / "terminal").open("wb") as stream:
        written(out, source, target=stream.fileno(), is_made=is_made)
    return (out / "terminal").read_bytes()


def test_what_a_stage_writes_is_shown_and_kept(tmp_path: Path) -> None:
    assert shown(tmp_path, WRITES) == b"out\nerror\nFalse\n"
    assert (tmp_path / FOLDER / "train.log").read_bytes() == b"out\nerror\nFalse\n"
    shown(tmp_path, "print('again')")
    assert (tmp_path / FOLDER / "train.log").read_bytes().endswith(b"False\nagain\n")


def test_a_start_that_made_nothing_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    assert shown(tmp_path, WRITES, is_made=False) == b"out\nerror\nFalse\n"
    assert not (tmp_path / FOLDER).exists()


def test_what_is_kept_of_a_stage_has_a_bound_and_says_where_it_was_cut(tmp_path: Path) -> None:
    source = f"import os\nfor _ in range({MAX_BYTES // 4096 + 9}): os.write(1, b'x' * 4096)"
    assert len(shown(tmp_path, source)) > MAX_BYTES
    kept = (tmp_path / FOLDER / "train.log").read_bytes()
    assert len(kept) == MAX_BYTES and kept.endswith(FULL)
    shown(tmp_path, WRITES)
    assert (tmp_path / FOLDER / "train.log").read_bytes() == kept


def test_on_a_terminal_the_stage_sees_a_terminal(tmp_path: Path) -> None:
    seen, terminal = os.openpty()
    try:
        written(tmp_path, WRITES, target=terminal)
        assert (tmp_path / FOLDER / "train.log").read_bytes() == b"out\nerror\nTrue\n"
    finally:
        os.close(terminal)
        os.close(seen)


def test_a_stranger_that_holds_the_other_end_keeps_nobody_waiting(tmp_path: Path) -> None:
    holder = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    tee = Tee(tmp_path, "train", target=os.open(os.devnull, os.O_WRONLY))
    script = f"{holder}; print('left')".replace("subprocess.Popen(", "p = subprocess.Popen(") + "; print(p.pid)"
    process = subprocess.Popen([sys.executable, "-u", "-c", script], stdout=tee.handle, stderr=tee.handle)
    tee.begin()
    assert process.wait(120) == 0
    tee.end(is_made=lambda: True)
    left, pid = (tmp_path / FOLDER / "train.log").read_text().split()
    os.kill(int(pid), 9)
    assert left == "left"
