"""The box of faults: who is struck takes one out, and what lasts goes on until it is taken out again."""

import threading
from pathlib import Path

from core import faultbox
from core.faults import read_fault

HOLD = "hold@rank=0,step=3"


def test_a_fault_strikes_once_and_one_that_lasts_until_it_is_taken_out(tmp_path: Path) -> None:
    faultbox.arm(tmp_path, 1, "crash@rank=0")
    faultbox.arm(tmp_path, 2, HOLD)
    crash, hold = (read_fault(text) for text in ("crash@rank=0", HOLD))
    assert [faultbox.take(tmp_path, 1, crash) for _ in range(2)] == [True, False]
    assert [faultbox.take(tmp_path, 2, hold) for _ in range(2)] == [True, True]
    assert faultbox.struck(tmp_path, 1) and faultbox.struck(tmp_path, 2)
    assert [fault for _, fault in faultbox.armed(tmp_path)] == [hold]


def test_who_is_held_waits_until_the_fault_is_taken_out(tmp_path: Path) -> None:
    faultbox.arm(tmp_path, 1, HOLD)
    held = threading.Thread(target=faultbox.wait_for_disarm, args=(tmp_path, read_fault(HOLD)), daemon=True)
    held.start()
    held.join(0.2)
    assert held.is_alive()
    faultbox.disarm(tmp_path, 1)
    held.join(120)
    assert not held.is_alive()
