"""How much memory there is: what the kernel has, what it could give to new processes, and what control groups leave."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigError

MEMINFO, GROUPS = "proc/meminfo", "proc/self/cgroup"
MOUNT = "sys/fs/cgroup"
# Files of a group's limit and of what it uses; of version 2, and of version 1 below its own mount.
VERSIONS = (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))
STATISTICS = "memory.stat"
# Pages that the kernel drops before it lets a group run out.
DROPPABLE = ("inactive_file", "total_inactive_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes of one memory, a machine's or a GPU's: all of it, and what is free for new processes."""

    whole: int
    free: int


def machine_room(root: Path = Path("/")) -> Room:
    """This machine's, without swap, or what its control groups allow, if that is less; files are below `root`.

    Raises ConfigError if the kernel does not tell.
    """
    groups = list(_limits(root))
    return Room(
        whole=min([_of_kernel(root, "MemTotal"), *(limit for limit, _ in groups)]),
        free=min([_of_kernel(root, "MemAvailable"), *(limit - used for limit, used in groups)]),
    )


def _of_kernel(root: Path, wanted: str) -> int:
    for line in (root / MEMINFO).read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == wanted:
            return int(value.split()[0]) * 1024
    raise ConfigError(f"{root / MEMINFO} does not tell {wanted}; give --memory-gb")


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use, without what can be dropped, of this process's group and of every group above it that has one."""
    path = root / GROUPS
    rows = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for row in rows:
        _, controllers, group = row.split(":", 2)
        for version, limit, usage in VERSIONS:
            if version not in controllers.split(","):
                continue
            mount = root / MOUNT / version
            inner = mount / group.lstrip("/")
            # In a container the group's own folder may be what is mounted.
            for folder in {mount, *(one for one in (inner, *inner.parents) if one.is_relative_to(mount))}:
                yield from _limit(folder, limit, usage)


def _limit(folder: Path, limit: str, usage: str) -> Iterator[tuple[int, int]]:
    if not (folder / limit).is_file() or not (folder / usage).is_file():
        return
    most = (folder / limit).read_text(encoding="utf-8").strip()
    if most.isdecimal():
        yield int(most), int((folder / usage).read_text(encoding="utf-8")) - _droppable(folder)


def _droppable(folder: Path) -> int:
    path = folder / STATISTICS
    rows = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = dict(row.split(maxsplit=1) for row in rows)
    return int(next((found[name] for name in reversed(DROPPABLE) if name in found), 0))
