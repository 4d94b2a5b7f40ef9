"""What a node's GPUs say of themselves: the driver's words (XID) in the kernel's log, and what follows from them.

A keeper reads what is added to its node's log (`launch.sensor_log`, with {node} for its name). A fatal word sets the
node aside with evidence, and another takes its place. Codes: NVIDIA, "XID Errors", docs.nvidia.com/deploy/xid-errors.
A drill writes such lines itself; with a real driver this was not exercised here.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from core.wire import Message
from launch import evidence
from launch.decide import Action, Kind
from launch.members import Node, State

if TYPE_CHECKING:
    from launch.coordinator import Coordinator

WORD = re.compile(r"NVRM: Xid \((?P<gpu>[^)]*)\): (?P<code>\d+)")
# What no program does: memory, link, bus, the GPU's own processor. Others (13, 31, 43, 45, ...) may be a program's.
FATAL = {
    48: "a double-bit ECC error",
    64: "a row of memory could not be replaced",
    74: "an NVLink error",
    79: "the GPU has fallen off the bus",
    92: "too many single-bit ECC errors",
    95: "an ECC error that was not contained",
    119: "the GPU's system processor does not answer",
    140: "an ECC error that was not recovered",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """One word of the driver."""

    code: int
    gpu: str
    line: str

    @property
    def fatal(self) -> str:
        """What is broken; empty if it may be a program's fault."""
        return FATAL.get(self.code, "")


@dataclass(slots=True)
class Sensors:
    """The end of a log; what was there before is not read."""

    path: Path | None
    _at: int = field(init=False)

    def __post_init__(self) -> None:
        self._at = self.path.stat().st_size if self.path and self.path.exists() else 0

    def read(self) -> list[Reading]:
        """What was added since the last call, in whole lines."""
        if self.path is None or not self.path.exists():
            return []
        with self.path.open("rb") as stream:
            stream.seek(self._at)
            added = stream.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._at += len(whole)
        return readings(whole.decode(errors="replace"))


def readings(text: str) -> list[Reading]:
    """The driver's words among the kernel's."""
    found = [(WORD.search(line), line) for line in text.splitlines()]
    return [Reading(int(match["code"]), match["gpu"], line) for match, line in found if match]


def heed(run: "Coordinator", node: Node, message: Message) -> None:
    """Set a node aside whose hardware is broken, with the driver's words as evidence."""
    run.history.record("sensor.told", node=node.name, code=message["code"], line=message["line"])
    if not message["fatal"] or node.state is State.REFUSED:
        return
    reason = f"XID {message['code']} on {message['gpu']}: {message['fatal']}"
    kept = evidence.keep(
        run.place.folder,
        f"{run.history.generation:04d}-{node.name}-xid{message['code']}",
        out=run.place.out,
        decided={"action": Action.RESTART.value, "reason": reason, "node": node.name, "line": message["line"]},
        failures=[],
        before=[],
        stacks={},
    )
    run.set_aside(node.name, reason=reason, evidence=str(kept))
    run.note_node(node, Kind.BROKEN, reason)
