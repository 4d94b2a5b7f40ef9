"""Where tcmalloc lies, if this machine has it: a faster allocator that a process can be started with (LD_PRELOAD).

It changes where tensors lie and how fast they are had, and no bit of what is computed (tests/train/test_allocator.py).
torch aligns its tensors itself, whoever allocates.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

PRELOAD = "LD_PRELOAD"
# Debian's package libtcmalloc-minimal4; the full library brings a profiler that nobody needs here.
PATTERN = "libtcmalloc_minimal.so.4"
FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")


def find_tcmalloc(folders: Sequence[str] = FOLDERS) -> Path | None:
    """The library in one of the folders, which may hold wildcards, or None."""
    for pattern in folders:
        found = sorted(Path("/").glob(f"{pattern.removeprefix('/')}/{PATTERN}"))
        if found:
            return found[0]
    return None


def preloading(library: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variable that loads a library before all others, in front of those that the environment names already."""
    others = [name for name in environment.get(PRELOAD, "").split(":") if name and name != str(library)]
    return {PRELOAD: ":".join([str(library), *others])}
