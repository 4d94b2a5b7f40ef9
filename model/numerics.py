"""Makes torch answer as a numerics profile asks, and refuses where it does not.

`core.profile.apply` sets the environment before torch is imported; what can be asked of torch only afterwards is
asked here, and what torch says of itself is held against the profile.
"""

import os

import torch

from core.errors import ConfigError
from core.profile import Device, ProfileConfig
from model.gpu import honour_gpu

CAPABILITY = "ATEN_CPU_CAPABILITY"
MKL_BRANCH = "MKL_CBWR"


def honour(profile: ProfileConfig) -> None:
    """Set torch's threads and switches, then check everything the profile asks of it.

    Raises ConfigError naming the first switch that this build or process does not honour.
    """
    torch.set_num_threads(profile.threads)
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest")
    # The public call imports torch._inductor, 1.3 s and more, for a flag that matters to compiled code alone.
    torch._C._set_deterministic_algorithms(True)
    # By default that also writes NaN into all fresh memory, a debugging aid that takes 6% of a step.
    torch._C._set_deterministic_fill_uninitialized_memory(False)
    _check_environment(profile)
    _check_answers(profile)
    if profile.device is Device.CUDA:
        honour_gpu(profile)


def _check_environment(profile: ProfileConfig) -> None:
    for name, wanted in profile.environment.items():
        found = os.environ.get(name)
        if found != wanted:
            raise ConfigError(
                f"profile {profile.name} asks for {name}={wanted}, this process has {found or 'nothing'}; "
                "apply the profile before torch is imported"
            )


def _check_answers(profile: ProfileConfig) -> None:
    asked = profile.environment.get(CAPABILITY, "").upper()
    capability = torch.backends.cpu.get_cpu_capability()
    if asked and capability != asked:
        raise ConfigError(
            f"profile {profile.name} asks torch for {CAPABILITY}={asked}, torch runs {capability}; "
            "start a new process, or take a profile that this CPU can honour"
        )
    if MKL_BRANCH in profile.environment and not torch._C.has_mkl:
        raise ConfigError(
            f"profile {profile.name} sets {MKL_BRANCH}, but this torch {torch.__version__} is built without MKL; "
            "install the x86-64 build"
        )
    if torch.get_num_threads() != profile.threads:
        raise ConfigError(
            f"profile {profile.name} asks for {profile.threads} threads a rank, torch runs {torch.get_num_threads()}"
        )
