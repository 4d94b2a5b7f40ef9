"""What a process tells its launcher through files: how far it is, and why it ended.

torchrun hides its workers' exit codes, and a launcher imports no stage: so a launcher names a folder in the
environment, and every rank leaves `rank<R>.beat.json` there after each step and `rank<R>.exit.json` when it fails.
"""

import ctypes
import json
import os
import signal
from pathlib import Path
from typing import Any

FOLDER = "WHOLEGRAIN_NOTES"
DIE_WITH_PARENT = "WHOLEGRAIN_DIE_WITH_PARENT"
PR_SET_PDEATHSIG = 1


def leave_beat(step: int) -> None:
    """Say that this rank has finished a step."""
    _leave("beat", {"pid": os.getpid(), "step": step})


def leave_exit(exit_code: int, message: str) -> None:
    """Say why this rank ends."""
    _leave("exit", {"pid": os.getpid(), "exit_code": exit_code, "message": message})


def read_notes(folder: Path, kind: str) -> dict[int, dict[str, Any]]:
    """All notes of a kind (`beat` or `exit`) by rank."""
    paths = folder.glob(f"rank*.{kind}.json")
    return {int(path.name.split(".")[0].removeprefix("rank")): json.loads(path.read_text()) for path in paths}


def obey_launcher() -> None:
    """Die with the parent where the launcher asked for it, so that no rank outlives its job."""
    if os.environ.get(DIE_WITH_PARENT):
        die_with_parent()


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (Linux, prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _leave(kind: str, note: dict[str, Any]) -> None:
    folder = os.environ.get(FOLDER)
    if folder:
        path = Path(folder) / f"rank{os.environ.get('RANK', '0')}.{kind}.json"
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(note), encoding="utf-8")
        aside.replace(path)
