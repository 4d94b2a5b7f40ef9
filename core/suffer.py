"""Where a process suffers the faults that were asked for: it passes named points (`touch`) and is struck there.

Without a keeper, or without faults, all of it does nothing.
"""

import ctypes
import os
import resource
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from core import faultbox
from core.faults import OF_A_BOX, OF_GRADIENTS, OF_KEEPERS, Fault, read_fault
from core.kept import kept

LONG_S = 3600.0
PAGE = resource.getpagesize()
# What a process may still take before it is given nothing: enough for the libraries' own threads.
LEFT_BYTES, TAKEN_BYTES = 64 << 20, 4 << 20


def touch(phase: str, step: int) -> None:
    """Pass a point, and suffer what is to be suffered there."""
    for fault in faults_at(phase, step):
        _suffer(fault)


def faults_at(phase: str, step: int, *, is_of_gradients: bool = False) -> Sequence[Fault]:
    """What strikes here and now; those of the box are taken out of it. Faults of gradients know no phase."""
    told = kept()
    if told is None or not (told.faults or told.fault_box):
        return ()

    def strikes(fault: Fault) -> bool:
        is_asked = fault.kind != OF_KEEPERS and (fault.kind in OF_GRADIENTS) == is_of_gradients
        return is_asked and fault.strikes(
            # An audit is no rank.
            rank=int(os.environ.get("RANK", "-1")),
            node=told.node,
            step=step,
            generation=told.generation,
            phase=fault.phase if is_of_gradients else phase,
        )

    found = [fault for fault in map(read_fault, told.faults) if strikes(fault)]
    if told.fault_box:
        box, facts = Path(told.fault_box), {"node": told.node, "generation": told.generation}
        facts |= {"rank": os.environ.get("RANK", ""), "phase": phase, "step": step}
        found += [
            fault
            for number, fault in faultbox.armed(box)
            if strikes(fault) and faultbox.take(box, number, fault, **facts)
        ]
    return found


def _suffer(fault: Fault) -> None:
    if fault.kind == "sleep":
        time.sleep(fault.seconds)
    elif fault.kind == OF_A_BOX:
        told = kept()
        assert told
        faultbox.wait_for_disarm(Path(told.fault_box), fault)
    elif fault.kind == "raise":
        raise ValueError("a fault that was asked for")
    elif fault.kind == "oom":
        _exhaust_memory()
    elif fault.kind == "abort":
        os.abort()
    elif fault.kind == "segfault":
        ctypes.string_at(0)
    elif fault.kind == "skew":
        _set_clock_ahead(fault.seconds)
    elif fault.kind == "lose":
        # The node's keeper is the parent of the process that this rank was forked from.
        os.kill(int(os.environ["WHOLEGRAIN_KEEPER"]), signal.SIGKILL)
        time.sleep(LONG_S)
    elif fault.kind in ("crash", "freeze"):
        os.kill(os.getpid(), signal.SIGKILL if fault.kind == "crash" else signal.SIGSTOP)


def _exhaust_memory() -> None:
    """Take memory until there is none. Raises MemoryError."""
    has = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
    resource.setrlimit(resource.RLIMIT_AS, (has + LEFT_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    held = []
    while True:
        held.append(bytearray(TAKEN_BYTES))


def _set_clock_ahead(seconds: float) -> None:
    true = time.time
    vars(time)["time"] = lambda: true() + seconds
