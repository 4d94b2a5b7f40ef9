"""The folders that keepers have in memory: made, marked with the process that owns them, and swept when it is dead.

A keeper that is killed cannot clear away its own. Whoever starts next on the machine does: a folder counts as left
behind if its owner, by process number and time of start, lives no more. One without a mark, or of another user or of
another container's processes, is left alone.
"""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

PREFIX = "wholegrain-"
OWNER = "owner.json"
PROC = Path("/proc")
# proc_pid_stat(5): behind the command in brackets, the time of start is the 20th word.
START_WORD = 19


def claim(room: Path) -> None:
    """Mark a folder as this process's."""
    (room / OWNER).write_text(json.dumps(_own()))


def sweep(folder: Path) -> list[Path]:
    """Remove the rooms in a folder whose owners are dead; returns them."""
    return [room for room in sorted(folder.glob(f"{PREFIX}*")) if _is_left(room) and _remove(room)]


def _own() -> dict[str, int | str]:
    return {"pid": os.getpid(), "started": _started(os.getpid()), "processes": _processes()}


def _processes() -> str:
    """Which processes are numbered together: a number says nothing to other containers."""
    return str((PROC / "self" / "ns" / "pid").readlink())


def _started(pid: int) -> int:
    """When a process was started, in the kernel's ticks; 0 if there is none."""
    with suppress(OSError):
        return int((PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[START_WORD])
    return 0


def _is_left(room: Path) -> bool:
    with suppress(OSError, ValueError):
        owner = json.loads((room / OWNER).read_text())
        is_ours = room.stat().st_uid == os.getuid() and owner["processes"] == _processes()
        return is_ours and _started(owner["pid"]) != owner["started"]
    return False


def _remove(room: Path) -> bool:
    shutil.rmtree(room, ignore_errors=True)
    return not room.exists()
