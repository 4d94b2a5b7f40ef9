"""The search for the first steps that a node computed wrongly, among the windows between a run's checkpoints.

A window is sound if its replay, from the checkpoint that it begins with, gives the ledger's lines. Steps that were done
before the node ever trained are not its. Of the windows after that, a few are replayed, as a bisection does, as many at
a time as there are nodes: from its first lie on a broken node is taken to lie in every window, so that the search costs
about log(windows) of them while everybody waits. That need not be so: a window behind a lie may be sound in itself,
with wrong weights from beginning to end. So what was passed over is replayed later, beside training (audits.py), and
the run is not published before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.ledger import Line, read_lines

Steps = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Steps after `start` up to `until`, between two checkpoints of the run; `start` 0 is the initial weights."""

    start: int
    until: int
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """Windows below `low` are taken for sound; `high` is the first known not to be, or one past the last."""

    low: int
    high: int


def bounds(windows: Sequence[Window], *, sound: Iterable[Steps], wrong: Iterable[Steps], good_until: int) -> Bounds:
    """What is known of the windows: those that were replayed, and that steps up to `good_until` are not in question."""
    found, bad = {*sound}, {*wrong}
    high = next((at for at, one in enumerate(windows) if (one.start, one.until) in bad), len(windows))
    good = [
        at for at in range(high) if windows[at].until <= good_until or (windows[at].start, windows[at].until) in found
    ]
    return Bounds(max(good, default=-1) + 1, high)


def probes(known: Bounds, count: int) -> list[int]:
    """Which windows to replay next, at most `count`, spread so that what is left of the range is least."""
    left = known.high - known.low
    parts = min(count, left) + 1
    return sorted({known.low + left * part // parts for part in range(1, parts)})


def without(steps: Sequence[Steps], taken: Steps) -> list[Steps]:
    """Ranges of steps, less one of them."""
    first, last = taken
    parts = [part for start, until in steps for part in ((start, min(until, first)), (max(start, last), until))]
    return sorted({(start, until) for start, until in parts if start < until})


def windows_of(out: Path) -> list[Window]:
    """The steps between the committed checkpoints of the run's unfinished folder, oldest first."""
    found = sorted(out.glob(".train-*.part/checkpoints/step-*"))
    steps = [int(path.name.removeprefix("step-")) for path in found]
    starts = [(0, ""), *((step, str(path)) for step, path in zip(steps, found, strict=True))]
    return [Window(start, until, path) for (start, path), until in zip(starts, steps, strict=False)]


def saved_until(out: Path, *, void_after: int) -> int:
    """The step of the newest committed checkpoint that is not void (`void_after` -1: none is)."""
    steps = [one.until for one in windows_of(out) if void_after < 0 or one.until <= void_after]
    return max(steps, default=0)


def steps_of(out: Path, window: Window) -> list[Line]:
    """The ledger's lines of a window."""
    (ledger,) = out.glob(".train-*.part/ledger.jsonl")
    lines = read_lines(ledger, is_torn_allowed=True)[1:]
    return [line for line in lines if window.start < line["step"] <= window.until]
