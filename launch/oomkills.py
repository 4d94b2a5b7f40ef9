"""How often the kernel has killed a process for want of memory, as a control group counts it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


def oom_kills() -> int:
    """How many processes of this one's control group the kernel has killed for want of memory; 0 if it cannot tell."""
    return sum(_counts())


def _counts() -> Iterator[int]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            group = line.split(":", 2)[2].lstrip("/")
            events = Path("/sys/fs/cgroup") / group / "memory.events"
            with contextlib.suppress(OSError):
                words = dict(word.split() for word in events.read_text().splitlines())
                yield int(words.get("oom_kill", 0))
