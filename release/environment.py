"""What was installed and what the machine was: witness, since a result must not depend on it."""

import os
import platform
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from core.profile import cpu_field


def installed_packages() -> list[dict[str, str]]:
    """Name and version of every installed distribution, sorted."""
    found = {(str(item.metadata["Name"]), item.version) for item in distributions()}
    return [{"name": name, "version": version} for name, version in sorted(found, key=lambda pair: pair[0].lower())]


def hardware() -> dict[str, Any]:
    """CPU model, cores, memory, kernel and Python; no host name and no path."""
    return {
        "machine": platform.machine(),
        "cpu": cpu_field("model name"),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "kernel": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
    }


def _memory_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0
    total = next((line.split()[1] for line in lines if line.startswith("MemTotal:")), "0")
    return int(total) * 1024
