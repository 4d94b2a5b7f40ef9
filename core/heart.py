"""The heart of a rank: where it is and since when, in a small file that it maps, so that a beat costs no system call.

Whoever watches maps the same file and sees a rank that stands still in a phase, even one that is frozen and can say
nothing. Layout, 64-bit words: step, phase, since (monotonic ns), beats; then for every phase a count and its last
WINDOW durations in ns. There is no lock: one process writes, and whoever
reads believes nothing bad before he has read it twice.
"""

import mmap
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# What is rare and long has phases of its own, so that it is not measured by what is frequent and short.
PHASES = ("start", "compute", "reduce", "log", "update", "write", "save", "evaluate", "wait")
WINDOW = 64
HEAD = struct.Struct("<4q")
WORD = struct.Struct("<q")
SIZE = HEAD.size + len(PHASES) * (1 + WINDOW) * WORD.size


@dataclass(frozen=True, slots=True)
class Beat:
    """Where a rank is: in `phase` of `step` since `since_s` on the machine's monotonic clock."""

    step: int
    phase: str
    since_s: float
    beats: int


class Heart:
    """The rank's end: says which phase begins."""

    def __init__(self, path: Path) -> None:
        self._phase, self._since, self._beats, self._step = 0, time.monotonic_ns(), 0, 0
        # It beats before anybody can see it: a watcher would take zeros for a rank that has stood still for ever.
        aside = path.with_suffix(".part")
        aside.write_bytes(bytes(SIZE))
        with aside.open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), SIZE)
        self._write()
        aside.replace(path)

    def enter(self, phase: str, step: int) -> None:
        """Begin a phase; the one before has ended."""
        now = time.monotonic_ns()
        at = HEAD.size + self._phase * (1 + WINDOW) * WORD.size
        (count,) = WORD.unpack_from(self._map, at)
        WORD.pack_into(self._map, at + (1 + count % WINDOW) * WORD.size, now - self._since)
        WORD.pack_into(self._map, at, count + 1)
        self._phase, self._since, self._step = PHASES.index(phase), now, step
        self._beats += 1
        self._write()

    def _write(self) -> None:
        # Not pack_into, which writes zeros first.
        self._map[: HEAD.size] = HEAD.pack(self._step, self._phase, self._since, self._beats)


class Pulse:
    """The watcher's end."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as stream:
            self._map = mmap.mmap(stream.fileno(), SIZE, prot=mmap.PROT_READ)

    def beat(self) -> Beat:
        """The last beat."""
        step, phase, since, beats = HEAD.unpack_from(self._map, 0)
        return Beat(step, PHASES[phase], since / 1e9, beats)

    def durations_s(self, phase: str) -> list[float]:
        """How long the phase took the last WINDOW times."""
        at = HEAD.size + PHASES.index(phase) * (1 + WINDOW) * WORD.size
        (count,) = WORD.unpack_from(self._map, at)
        places = range(1, 1 + min(count, WINDOW))
        return [WORD.unpack_from(self._map, at + place * WORD.size)[0] / 1e9 for place in places]


_hearts: list[Heart] = []


def begin(path: Path) -> None:
    """Give this process a heart."""
    _hearts[:] = [Heart(path)]


def enter(phase: str, step: int) -> None:
    """Begin a phase of a step; nothing happens in a process without a heart."""
    for heart in _hearts:
        heart.enter(phase, step)


def limit_s(durations_s: Sequence[float], *, floor_s: float, factor: float, first_s: float) -> float:
    """How long a phase may last before its rank is taken for hung: max(floor, factor x p99); `first_s` if unknown."""
    if not durations_s:
        return first_s
    ordered = sorted(durations_s)
    return max(floor_s, factor * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))])
