"""What a machine says of its NVIDIA GPUs and of the libraries that compute on them, asked without torch.

Not exercised here: no machine with a GPU has run this; it is written from the documentation of nvidia-smi and of
torch's CUDA wheels, which bring every library as a package of its own.
"""

import shutil
import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from core.errors import ConfigError

DRIVER = Path("/proc/driver/nvidia/version")
TOOL = "nvidia-smi"
QUERY = ("name", "compute_cap", "driver_version")
# Of these a version must be known: with another one, a product or a sum may have other bits.
LIBRARIES = ("cublas", "cuda-runtime", "cudnn", "nccl")
COMPILERS = ("triton", "pytorch-triton")
# The unit of what nvidia-smi says of memory.
MEBIBYTE = 1 << 20


@cache
def gpu_facts() -> dict[str, Any]:
    """Model, compute capability and driver of the machine's GPUs, and the version of every NVIDIA library.

    Raises ConfigError naming the first check that fails.
    """
    return {**_cards(), "libraries": _libraries()}


def smallest_gpu() -> tuple[int, int]:
    """Bytes that a GPU of this machine has in all, and bytes that are free on one: the least of each over its GPUs.

    Raises ConfigError naming the first check that fails.
    """
    rows = _asked("memory.total,memory.free", "--format=csv,noheader,nounits")
    sizes = [[word.strip() for word in row.split(",")] for row in rows]
    if not all(len(row) == 2 and row[0].isdecimal() and row[1].isdecimal() for row in sizes):
        raise failed("gpu.memory", f"{TOOL} says {rows[0]!r} of its memory; give --memory-gb")
    whole, free = (min(int(row[column]) for row in sizes) * MEBIBYTE for column in (0, 1))
    return whole, free


def failed(check: str, told: str) -> ConfigError:
    """The error of a check that a GPU profile asks for and this machine does not pass."""
    return ConfigError(f"a cuda profile cannot be honoured here: check {check} failed, {told}")


def _cards() -> dict[str, str]:
    kinds = sorted(set(_asked(",".join(QUERY), "--format=csv,noheader")))
    values = [value.strip() for value in kinds[0].split(",")]
    if len(kinds) > 1 or len(values) != len(QUERY):
        raise failed("gpu.model", f"the GPUs are {'; '.join(kinds)}; a profile holds for one model and driver")
    return dict(zip(QUERY, values, strict=True))


def _libraries() -> dict[str, str]:
    names = {str(one.metadata["Name"]).lower(): one.version for one in distributions() if one.metadata["Name"]}
    found = {name: version for name, version in names.items() if name.startswith("nvidia-") or name in COMPILERS}
    missing = [kind for kind in LIBRARIES if not any(name.startswith(f"nvidia-{kind}") for name in found)]
    if missing:
        raise failed(
            "gpu.libraries", f"no package nvidia-{missing[0]} tells its version; install torch's wheel for CUDA"
        )
    return dict(sorted(found.items()))


def _asked(query: str, form: str) -> list[str]:
    """What nvidia-smi says of every GPU, a line each."""
    if not DRIVER.exists():
        raise failed("gpu.driver", f"there is no {DRIVER}; take a machine with an NVIDIA GPU, or another profile")
    if not shutil.which(TOOL):
        raise failed("gpu.tool", f"there is no {TOOL}, which names model and driver; install the driver's tools")
    asked = subprocess.run([TOOL, f"--query-gpu={query}", form], capture_output=True, text=True, check=False)
    rows = [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    if asked.returncode or not rows:
        told = (asked.stderr or asked.stdout).strip().splitlines() or ["it named no GPU"]
        raise failed("gpu.tool", f"{TOOL} ended with exit code {asked.returncode} ({told[0]}); mend the driver")
    return rows
