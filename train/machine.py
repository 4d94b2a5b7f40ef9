"""How much memory there is for new processes: what the kernel could give, and what the control group leaves of it."""

from collections.abc import Iterator
from pathlib import Path

from core.errors import ConfigError

MEMINFO, GROUPS = "proc/meminfo", "proc/self/cgroup"
MOUNT = "sys/fs/cgroup"
# Files of a group's limit and of what it uses; of version 2, and of version 1 below its own mount.
VERSIONS = (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))
STATISTICS = "memory.stat"
# Pages that the kernel drops before it lets a group run out.
DROPPABLE = ("inactive_file", "total_inactive_file")


def available_bytes(root: Path = Path("/")) -> int:
    """Bytes without swapping, in the file system below `root`. Raises ConfigError if the kernel does not tell."""
    for line in (root / MEMINFO).read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return min(int(value.split()[0]) * 1024, *_left_by_groups(root))
    raise ConfigError(f"{root / MEMINFO} does not tell the available memory; give --memory-gb")


def _left_by_groups(root: Path) -> Iterator[int]:
    """What this process's group, and every group above it, leaves; a large number where none has a limit."""
    yield 1 << 62
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
                yield from _left(folder, limit, usage)


def _left(folder: Path, limit: str, usage: str) -> Iterator[int]:
    if not (folder / limit).is_file() or not (folder / usage).is_file():
        return
    most = (folder / limit).read_text(encoding="utf-8").strip()
    if most.isdecimal():
        yield int(most) - int((folder / usage).read_text(encoding="utf-8")) + _droppable(folder)


def _droppable(folder: Path) -> int:
    path = folder / STATISTICS
    rows = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = dict(row.split(maxsplit=1) for row in rows)
    return int(next((found[name] for name in reversed(DROPPABLE) if name in found), 0))
