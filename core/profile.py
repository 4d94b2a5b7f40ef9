"""Numerics profiles: all that may change bits and is not in the rest of the configuration.

A profile sets its environment before torch is imported, fails closed where that is no longer possible, and has a
fingerprint: what it asked for and the builds that answered. What each switch is for was measured
(docs/reproducibility.md).
"""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.config import identity
from core.errors import ConfigError
from core.gpu import gpu_facts

# Builds that can change a byte of a result: what computes (mpmath makes the rotation tables and the learning rates),
# and what writes the files that are hashed.
BUILDS = (
    *("mpmath", "numpy", "torch"),
    *("protobuf", "safetensors", "sentencepiece", "tokenizers", "transformers", "zstandard"),
)
# NVIDIA, cuBLAS library, "Results reproducibility": a workspace of fixed size for every stream.
CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
FIXED_WORKSPACES = (":4096:8", ":16:8")


class Device(Enum):
    """What trains. On `cuda` nothing has been exercised here."""

    CPU = "cpu"
    CUDA = "cuda"


class SdpaBackend(Enum):
    """torch's kernels for attention on a GPU; flash and cudnn take no mask of documents."""

    MATH = "math"
    FLASH = "flash"
    EFFICIENT = "efficient"
    CUDNN = "cudnn"


class Attention(Enum):
    """Which attention kernel runs."""

    EXPLICIT = "explicit"
    BLOCKED = "blocked"
    SDPA = "sdpa"


class Compute(Enum):
    """What type the matrix products and attention of a model have; weights and sums of gradients stay fp32."""

    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(kw_only=True, slots=True)
class CudaConfig:
    """What only GPUs have; all else that they must do is not a choice (model/gpu.py)."""

    # fp32 products in TF32: 10 bits of mantissa.
    is_tf32_allowed: bool = False
    # Those that are not named are switched off; for attention=sdpa only.
    sdpa_backends: list[SdpaBackend] = field(default_factory=lambda: [SdpaBackend.MATH])


@dataclass(kw_only=True, slots=True)
class ProfileConfig:
    """Section `profile`: the switches, all identity."""

    name: str
    threads: int
    environment: dict[str, str]
    cpu_features: list[str]
    attention: Attention
    is_sqrt_in_float64: bool
    is_bound_to_cpu_model: bool
    compute: Compute = Compute.FP32
    # The residual stream between the blocks in the type of the products, too; norms are always taken in fp32.
    is_stream_narrow: bool = False
    # Blocks and loss by torch.compile: fixed shapes, no autotuning. The compiler is part of the fingerprint.
    is_compiled: bool = False
    # The update by one pass of C, made by the same compiler (train/kernels.py).
    is_update_fused: bool = False
    device: Device = Device.CPU
    cuda: CudaConfig = field(default_factory=CudaConfig)

    def __post_init__(self) -> None:
        self._check_device()
        if self.is_stream_narrow and self.compute is Compute.FP32:
            raise ConfigError("profile.is_stream_narrow has no effect with profile.compute fp32; switch it off")
        is_for_cpu = self.device is Device.CPU
        if is_for_cpu and (self.is_compiled or self.is_update_fused) and not self.is_bound_to_cpu_model:
            raise ConfigError(
                f"profile {self.name} asks for compiled code, which is made for one CPU model; "
                "set profile.is_bound_to_cpu_model too"
            )
        if self.threads < 1:
            raise ConfigError(f"profile.threads is {self.threads}; give at least 1 thread a rank")

    def _check_device(self) -> None:
        if self.device is Device.CPU:
            if self.cuda != CudaConfig():
                raise ConfigError("profile.cuda has no effect with profile.device cpu; leave it out")
            return
        if self.is_update_fused:
            raise ConfigError(
                "profile.is_update_fused is a loop in C that runs on CPUs; with profile.device cuda switch it off: the "
                "update is then made by elementwise kernels"
            )
        if self.environment.get(CUBLAS_WORKSPACE) not in FIXED_WORKSPACES:
            raise ConfigError(
                f"profile {self.name} sets {CUBLAS_WORKSPACE} to {self.environment.get(CUBLAS_WORKSPACE, 'nothing')}; "
                f"cuBLAS repeats itself with {' or '.join(FIXED_WORKSPACES)} only"
            )


def apply(profile: ProfileConfig) -> None:
    """Set the profile's environment for this process and its children.

    Raises ConfigError if torch has been imported already under other values, or if the machine lacks what it needs.
    """
    if profile.device is Device.CUDA:
        gpu_facts()
    missing = sorted(set(profile.cpu_features) - set(cpu_flags()))
    if missing:
        raise ConfigError(
            f"profile {profile.name} needs CPU feature {', '.join(missing)}, which this machine lacks; "
            "take another profile"
        )
    wanted = {**profile.environment, "OMP_NUM_THREADS": str(profile.threads), "MKL_NUM_THREADS": str(profile.threads)}
    changed = {name: value for name, value in wanted.items() if os.environ.get(name) != value}
    if changed and "torch" in sys.modules:
        raise ConfigError(
            f"profile {profile.name} must set {', '.join(sorted(changed))} before torch is imported; "
            "start a new process"
        )
    os.environ.update(changed)


def fingerprint(profile: ProfileConfig) -> dict[str, Any]:
    """What the profile asks for and the builds that answer, as JSON values; its hash names the profile in a ledger."""
    facts: dict[str, Any] = {
        "asked": identity(profile),
        "machine": platform.machine(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "builds": dict(builds()),
    }
    if profile.is_compiled or profile.is_update_fused:
        facts["compiler"] = compiler_version()
    if profile.device is Device.CUDA:
        facts["gpu"] = gpu_facts()
    if profile.is_bound_to_cpu_model:
        facts["cpu"] = {"model": cpu_field("model name"), "flags": sorted(cpu_flags())}
    return facts


@cache
def builds() -> tuple[tuple[str, str], ...]:
    """The versions of BUILDS; they do not change while a process lives."""
    return tuple((name, version(name)) for name in BUILDS)


def compiler_path() -> str:
    """The C++ compiler that torch's inductor would take: $CXX, else g++. Raises ConfigError if there is none."""
    name = os.environ.get("CXX", "g++")
    found = shutil.which(name)
    if not found:
        raise ConfigError(f"the profile compiles code, and there is no compiler {name}; install g++, or set CXX")
    return found


@cache
def compiler_version() -> str:
    """The first line of what the compiler says of itself."""
    said = subprocess.run([compiler_path(), "--version"], capture_output=True, text=True, check=False)
    if said.returncode or not said.stdout.strip():
        raise ConfigError(f"{compiler_path()} does not tell its version; install g++, or set CXX to a compiler")
    return said.stdout.splitlines()[0]


def cpu_flags() -> list[str]:
    """The CPU's feature flags as the kernel names them."""
    return cpu_field("flags").split()


def cpu_field(name: str) -> str:
    """One field of the first CPU in /proc/cpuinfo, or an empty string."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.split(":")[0].strip() == name), "")
