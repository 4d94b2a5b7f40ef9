"""Whether a plan fits into the memory there is: a refusal where it cannot, a warning where it may not. Free of torch.

Refused is only what needs more for certain (`least`) than there is in all; what a plan guesses at, holes in a heap or
what other programs hold just now, is worth a warning. A GPU's memory: written from documentation, not exercised here.
"""

from typing import Any

from core import gpu
from core.errors import ConfigError
from core.profile import Device, ProfileConfig
from train.machine import Room, machine_room

GB = 1_000_000_000
NODE, GPU = "node", "gpu"
HELP = {
    NODE: "lower train.micro_batch, set train.is_recomputed=true, take train.placement=fsdp2 over more machines, or a "
    "smaller model",
    GPU: "lower train.micro_batch, set train.is_recomputed=true, take train.placement=fsdp2 over more GPUs, or a "
    "smaller model",
}


def rooms_here(profile: ProfileConfig) -> dict[str, Room]:
    """The memories of this machine that a profile's ranks would fill; none if it has not the GPUs that they need."""
    if profile.device is not Device.CUDA:
        return {NODE: machine_room()}
    if not gpu.DRIVER.exists():
        return {}
    whole, free = gpu.smallest_gpu()
    return {GPU: Room(whole=whole, free=free), NODE: machine_room()}


def check_fit(planned: dict[str, Any], rooms: dict[str, Room]) -> str:
    """Hold a plan against memories; returns warnings, a line each, or nothing.

    Raises ConfigError if a memory is too small, whatever else is on the machine.
    """
    warnings = ""
    for kind, room in rooms.items():
        least, most = planned[f"least_bytes_of_{kind}"], planned[f"bytes_of_{kind}"]
        ranks = planned["sharing_ranks"] if kind == NODE else 1
        who = f"{'1 rank needs' if ranks == 1 else f'{ranks} ranks need'}"
        where = "of a GPU's memory" if kind == GPU else "of memory"
        if least > room.whole:
            raise ConfigError(
                f"{who} at least {_gb(least)} {where}, about {_gb(most)} at the peak, and there are {_gb(room.whole)} "
                f"in all; {HELP[kind]}"
            )
        if most > room.free:
            warnings += (
                f"warning: {who} up to {_gb(most)} {where} at the peak, and {_gb(room.free)} are free of "
                f"{_gb(room.whole)}; if it does not fit, {HELP[kind]}\n"
            )
    return warnings


def _gb(count: int) -> str:
    return f"{count / GB:.2f} GB"
