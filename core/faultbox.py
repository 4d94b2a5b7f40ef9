"""A folder in which a drill lays faults while a run is under way. Whoever is struck takes one out: each strikes once.

    <number>.armed     the fault (faults.py), as text
    <number>.struck    who was struck, where and when, as JSON; written before anything is suffered

A lie (`flip`) goes on until it is taken out again: broken hardware does not lie only once. A `hold` lasts as long too.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.faults import OF_A_BOX, Fault, read_fault

ARMED, STRUCK = ".armed", ".struck"
LASTING = ("flip", OF_A_BOX)
POLL_S = 0.01


def arm(box: Path, number: int, text: str) -> None:
    """Lay a fault into the box."""
    aside = box / f"{number}.part"
    aside.write_text(text)
    aside.replace(box / f"{number}{ARMED}")


def disarm(box: Path, number: int) -> None:
    """Take a fault out, whether or not it has struck."""
    (box / f"{number}{ARMED}").unlink(missing_ok=True)


def wait_for_disarm(box: Path, fault: Fault) -> None:
    """Wait until no fault like this is in the box."""
    while any(other == fault for _, other in armed(box)):
        time.sleep(POLL_S)


def struck(box: Path, number: int) -> dict[str, Any] | None:
    """Who was struck; None if nobody was yet."""
    path = box / f"{number}{STRUCK}"
    with suppress(FileNotFoundError):
        told: dict[str, Any] = json.loads(path.read_text())
        return told
    return None


def armed(box: Path) -> Iterator[tuple[int, Fault]]:
    """The faults in the box, by number."""
    for path in box.glob(f"*{ARMED}"):
        with suppress(FileNotFoundError):
            yield int(path.stem), read_fault(path.read_text())


def take(box: Path, number: int, fault: Fault, **facts: Any) -> bool:
    """Take a fault out to suffer it; returns False if another was faster."""
    path = box / f"{number}{STRUCK}"
    if fault.kind in LASTING:
        if path.exists():
            return True
    else:
        try:
            (box / f"{number}{ARMED}").unlink()
        except FileNotFoundError:
            return False
    aside = box / f"{number}.{os.getpid()}.part"
    aside.write_text(json.dumps({"time": time.time(), "pid": os.getpid(), "kind": fault.kind, **facts}))
    aside.replace(path)
    return True
