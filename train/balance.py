"""Fewer micro-batches for a rank that computes slowly, without a restart and without a message of its own.

Every rank puts the time that it takes for a micro-batch among the integers that all ranks add in a step anyway. So all
of them know the same and decide the same at the same step, by the pure functions below: a rank is slow if the median
of its times over a window is further from the ranks' median than their spread explains (median absolute deviation).
Which rank computes a micro-batch cannot be seen in the canonical sum, so no bit changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from statistics import median_low
from typing import Protocol

# A rank is slow, or fast, beyond so many times the spread and so large a part of the median.
SPREADS, PART = 5, 5
# Work is moved for at least a tenth of the time that the slowest rank takes.
TENTHS = 9


class Shared(Protocol):
    """A placement whose ranks take contiguous ranges of micro-batches, of any size."""

    def take_ranges(self, ranges: Sequence[tuple[int, int]]) -> None:
        """From the next step on, rank r computes the micro-batches first .. last - 1 of `ranges[r]`."""


@dataclass(slots=True)
class Balance:
    """How many micro-batches each rank has (`counts`); `is_shifted` says that the last step has changed it."""

    placed: Shared
    window: int
    counts: list[int]
    is_shifted: bool = False
    times_ns: list[int] = field(default_factory=list)
    _seen: list[list[int]] = field(default_factory=list)

    def note(self, times_ns: Sequence[int]) -> None:
        """The ranks' times for a micro-batch in the step under way."""
        self._seen.append(list(times_ns))

    def end_step(self) -> None:
        """Share out the micro-batches anew when a window is full and it is worth it."""
        self.is_shifted = False
        if len(self._seen) < self.window:
            return
        self.times_ns = [median_low(own) for own in zip(*self._seen, strict=True)]
        self._seen.clear()
        wanted = shares(sum(self.counts), typical(self.times_ns))
        if slowest(wanted, self.times_ns) * 10 <= slowest(self.counts, self.times_ns) * TENTHS:
            self.counts, self.is_shifted = wanted, True
            self.placed.take_ranges(list(pairwise(accumulate(wanted, initial=0))))


def typical(times: Sequence[int]) -> list[int]:
    """The times, with the median in place of those that differ from it no more than the spread explains.

    Of two ranks the faster one is taken for the usual case.
    """
    middle = median_low(times)
    spread = median_low([abs(time - middle) for time in times])
    limit = max(SPREADS * spread, middle // PART)
    return [middle if abs(time - middle) <= limit else time for time in times]


def shares(count: int, times: Sequence[int]) -> list[int]:
    """How many of `count` micro-batches each rank takes so that the last to finish is early; at least one each."""
    found = [1] * len(times)
    for _ in range(count - len(times)):
        found[min(range(len(times)), key=lambda rank: ((found[rank] + 1) * times[rank], rank))] += 1
    return found


def slowest(counts: Sequence[int], times: Sequence[int]) -> int:
    """The time of the rank that finishes last."""
    return max(count * time for count, time in zip(counts, times, strict=True))
