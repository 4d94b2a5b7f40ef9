"""What a step says of itself while it is taken: its heart's phases; and what is asked of it meanwhile: stops, faults.

Without a keeper all of it does nothing.
"""

import os
import signal
import time
from collections.abc import Sequence
from types import FrameType

import torch
from torch import Tensor

from core import heart
from core.faults import Fault, read_fault
from core.kept import kept
from core.notes import is_released
from core.seeds import derive_seed

LONG_S = 3600.0
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
    for fault in _faults(step, phase):
        _suffer(fault)


def lie(followed: Tensor, *, step: int, index: int) -> None:
    """Turn one bit of the gradient that flows back from a micro-batch's loss, where a fault asks for it."""
    for fault in _faults(step, "flip"):
        drawn = derive_seed(1, "lie", step, index) / 2**64
        if drawn < fault.share:
            followed.register_hook(_flipped)  # type: ignore[no-untyped-call]


def _flipped(gradient: Tensor) -> Tensor:
    words = gradient.clone().view(torch.int32)
    return words.bitwise_xor(1 << (MANTISSA_BITS - 8)).view(torch.float32)


def _faults(step: int, phase: str) -> Sequence[Fault]:
    told = kept()
    if told is None or not told.faults:
        return ()
    # An audit is no rank.
    rank = int(os.environ.get("RANK", "-1"))
    found = [read_fault(text) for text in told.faults]
    return [
        fault
        for fault in found
        if (fault.kind == "flip") == (phase == "flip")
        and fault.strikes(
            rank=rank,
            node=told.node,
            step=step,
            generation=told.generation,
            phase=fault.phase if phase == "flip" else phase,
        )
    ]


def _suffer(fault: Fault) -> None:
    if fault.kind == "sleep":
        time.sleep(fault.seconds)
    elif fault.kind == "raise":
        raise ValueError("a fault that was asked for")
    elif fault.kind == "oom":
        raise MemoryError("a fault that was asked for")
    elif fault.kind == "abort":
        os.abort()
    elif fault.kind == "lose":
        # The node's keeper is the parent of the process that this rank was forked from.
        os.kill(int(os.environ["WHOLEGRAIN_KEEPER"]), signal.SIGKILL)
        time.sleep(LONG_S)
    elif fault.kind in ("crash", "freeze"):
        os.kill(os.getpid(), signal.SIGKILL if fault.kind == "crash" else signal.SIGSTOP)
