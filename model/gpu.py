"""Makes torch compute on a GPU as a profile asks, and refuses where it does not. Not exercised here: no GPU was there.

Sources: PyTorch's notes on reproducibility, CUDA semantics and numerical accuracy; NVIDIA's on cuBLAS and cuDNN. That
deterministic algorithms are on is asked in numerics.py: with them torch takes the deterministic backward of flash and
memory-efficient attention, of embedding and of indexing, and raises where an operation has none.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.backends import cuda, cudnn

from core.gpu import failed, gpu_facts
from core.profile import ProfileConfig, SdpaBackend


@dataclass(frozen=True, slots=True)
class Switch:
    """A flag of torch: its name, how it is set and read, and what it must be."""

    name: str
    put: Callable[[bool], None]
    get: Callable[[], bool]
    wanted: bool


def honour_gpu(profile: ProfileConfig) -> None:
    """Set torch's switches for GPUs and check what it says of itself. Raises ConfigError naming the first check."""
    if torch.version.cuda is None:
        raise failed("torch.build", f"torch {torch.__version__} is built without CUDA; install its wheel for CUDA")
    if not torch.cuda.is_available():
        raise failed("torch.device", "torch finds no GPU; look at CUDA_VISIBLE_DEVICES and the driver")
    set_switches(profile)
    _check_devices()
    _check_libraries()


def set_switches(profile: ProfileConfig) -> None:
    """Set every switch and read it back. Raises ConfigError naming the first that torch does not keep."""
    for switch in switches(profile):
        switch.put(switch.wanted)
        if switch.get() != switch.wanted:
            raise failed(f"torch.{switch.name}", f"it is {switch.get()}, asked for was {switch.wanted}")


def switches(profile: ProfileConfig) -> list[Switch]:
    """What must be said to torch: products at full precision, and nothing chosen by a clock."""
    asked = profile.cuda
    products, allowed = cuda.matmul, set(asked.sdpa_backends)
    return [
        _flag(products, "allow_tf32", wanted=asked.is_tf32_allowed),
        _flag(products, "allow_bf16_reduced_precision_reduction", wanted=False),
        _flag(products, "allow_fp16_reduced_precision_reduction", wanted=False),
        _flag(products, "allow_fp16_accumulation", wanted=False),
        _flag(cudnn, "allow_tf32", wanted=asked.is_tf32_allowed),
        _flag(cudnn, "benchmark", wanted=False),
        _flag(cudnn, "deterministic", wanted=True),
        Switch("sdp.math", cuda.enable_math_sdp, cuda.math_sdp_enabled, SdpaBackend.MATH in allowed),
        Switch("sdp.flash", cuda.enable_flash_sdp, cuda.flash_sdp_enabled, SdpaBackend.FLASH in allowed),
        Switch(
            "sdp.efficient",
            cuda.enable_mem_efficient_sdp,
            cuda.mem_efficient_sdp_enabled,
            SdpaBackend.EFFICIENT in allowed,
        ),
        Switch("sdp.cudnn", cuda.enable_cudnn_sdp, cuda.cudnn_sdp_enabled, SdpaBackend.CUDNN in allowed),
        Switch(
            "sdp.reduced_products",
            cuda.allow_fp16_bf16_reduction_math_sdp,
            cuda.fp16_bf16_reduction_math_sdp_allowed,
            False,
        ),
    ]


def _flag(holder: object, name: str, *, wanted: bool) -> Switch:
    short = "cudnn" if holder is cudnn else "matmul"
    return Switch(f"{short}.{name}", lambda value: setattr(holder, name, value), lambda: getattr(holder, name), wanted)


def _check_devices() -> None:
    """All GPUs that torch sees are of the capability that the fingerprint names."""
    wanted = gpu_facts()["compute_cap"]
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        if f"{major}.{minor}" != wanted:
            raise failed("torch.capability", f"GPU {index} has {major}.{minor}, the fingerprint says {wanted}")


def _check_libraries() -> None:
    """What torch has loaded is what the packages say; a library path could bring another."""
    nccl = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[no-untyped-call]
    code = int(cudnn.version() or 0)  # type: ignore[no-untyped-call]
    for kind, loaded in (("nccl", nccl), ("cudnn", f"{code // 10000}.{code // 100 % 100}.{code % 100}")):
        packages = [version for name, version in gpu_facts()["libraries"].items() if name.startswith(f"nvidia-{kind}")]
        if not any(f"{version}.".startswith(f"{loaded}.") for version in packages):
            raise failed(f"torch.{kind}", f"torch runs {kind} {loaded}, installed is {', '.join(packages)}")
