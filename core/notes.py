"""What a process tells its launcher through files: how far it is, and why it ended.

torchrun hides its workers' exit codes, and a launcher imports no stage: so a launcher names a folder in the
environment, and every rank leaves notes there, replaced whole each time:
    rank<R>.work.json   the artifact that it began to make (not left where the artifact was found finished)
    rank<R>.beat.json   the step that it finished last, the first one it finished, and when that was
    rank<R>.exit.json   why it ended; a process that ends without this note was killed or crashed
The folder's name in the environment also marks every process of the job, so that none is forgotten.
"""

import ctypes
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from core.errors import RetryError

FOLDER = "WHOLEGRAIN_NOTES"
DIE_WITH_PARENT = "WHOLEGRAIN_DIE_WITH_PARENT"
PR_SET_PDEATHSIG = 1
RELEASED = "released"

_first_beat: dict[str, Any] = {}


def leave_beat(step: int) -> None:
    """Say that this rank has finished a step."""
    if _first_beat.get("pid") != os.getpid():
        _first_beat.update(pid=os.getpid(), first_step=step, first_time=time.time())
    _leave("beat", {**_first_beat, "step": step})


def leave_work(folder: Path) -> None:
    """Say that this rank begins, or goes on, to make the artifact that is being written in `folder`."""
    _leave("work", {"pid": os.getpid(), "folder": str(folder)})


def leave_exit(exit_code: int, message: str) -> None:
    """Say why this rank ends."""
    _leave("exit", {"pid": os.getpid(), "exit_code": exit_code, "message": message})


def release(folder: Path) -> None:
    """Let the ranks of a folder publish what they have made."""
    (folder / RELEASED).touch()


def is_released() -> bool:
    """Whether this rank may publish."""
    return (Path(os.environ[FOLDER]) / RELEASED).exists()


def read_notes(folder: Path, kind: str) -> dict[int, dict[str, Any]]:
    """All notes of a kind (`beat` or `exit`) by rank."""
    paths = folder.glob(f"rank*.{kind}.json")
    return {int(path.name.split(".")[0].removeprefix("rank")): json.loads(path.read_text()) for path in paths}


def obey_launcher() -> None:
    """Die with the parent where the launcher asked for it, so that no rank outlives its job.

    Raises RetryError if the launcher, whose process id the environment holds, had ended before this was called.
    """
    launcher = os.environ.get(DIE_WITH_PARENT)
    if launcher:
        die_with_parent()
        if int(launcher) not in _ancestors():
            raise RetryError(f"the launcher, process {launcher}, has ended already; run it again")


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (Linux, prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _ancestors() -> set[int]:
    found: set[int] = set()
    pid = os.getppid()
    while pid > 0:
        found.add(pid)
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except FileNotFoundError:
            break
        # After the command in brackets, which may hold anything, come the state and the parent (proc_pid_stat(5)).
        pid = int(stat.rpartition(")")[2].split()[1])
    return found


def _leave(kind: str, note: dict[str, Any]) -> None:
    folder = os.environ.get(FOLDER)
    if folder:
        path = Path(folder) / f"rank{os.environ.get('RANK', '0')}.{kind}.json"
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(note), encoding="utf-8")
        aside.replace(path)
