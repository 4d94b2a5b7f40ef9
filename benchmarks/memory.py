"""The most memory that this process has held, as the kernel counts it (Linux)."""

import re
from pathlib import Path


def peak_bytes() -> int:
    """VmHWM of this process: what was resident at its highest, shared pages too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return int(found[1]) * 1024
