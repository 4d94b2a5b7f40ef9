"""What a step says of itself while it is taken: its heart's phases; and what is asked of it meanwhile: stops, faults.

Without a keeper all of it does nothing.
"""

import os
import signal
import time
from types import FrameType

import torch
from torch import Tensor

from core import heart
from core.kept import kept
from core.notes import is_released
from core.seeds import derive_seed
from core.suffer import faults_at, touch

POLL_S = 0.02
MANTISSA_BITS = 23

_asked: list[int] = []


def begin(rank: int) -> None:
    """Take requests to stop as wishes: the ranks finish the step that they agree on, and commit."""
    if kept():
        os.environ.setdefault("RANK", str(rank))
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, _ask)


def _ask(number: int, _frame: FrameType | None) -> None:
    _asked.append(number)


def is_stop_asked() -> bool:
    """Whether somebody has asked this rank to stop."""
    return bool(_asked)


def await_release() -> None:
    """Wait until the coordinator has nothing against what was computed, where audits are asked for."""
    told = kept()
    while told and told.is_awaited and not is_released():
        time.sleep(POLL_S)


def enter(phase: str, step: int) -> None:
    """Begin a phase of a step, and suffer what is to be suffered there."""
    heart.enter(phase, step)
    touch(phase, step)


def lie(followed: Tensor, *, step: int, index: int) -> None:
    """Spoil the gradient that flows back from a micro-batch's loss, a bit or all, where a fault asks for it."""
    for fault in faults_at("compute", step, is_of_gradients=True):
        drawn = derive_seed(1, "lie", step, index) / 2**64
        if drawn < fault.share:
            followed.register_hook(_flipped if fault.kind == "flip" else _spoiled)  # type: ignore[no-untyped-call]


def _flipped(gradient: Tensor) -> Tensor:
    words = gradient.clone().view(torch.int32)
    return words.bitwise_xor(1 << (MANTISSA_BITS - 8)).view(torch.float32)


def _spoiled(gradient: Tensor) -> Tensor:
    return torch.full_like(gradient, float("nan"))
