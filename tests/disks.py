"""A small disk that can be full, for tests of what happens then."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(parent: Path, *, size_bytes: int) -> Iterator[Path]:
    """A disk of memory below `parent`; skips the test where the user may not mount one."""
    folder = parent / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", folder], check=False)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs takes rights that this user has not")
    yield folder
    subprocess.run(["umount", folder], check=True)
