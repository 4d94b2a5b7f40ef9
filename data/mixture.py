"""Which source the n-th sample comes from: exact integer weights, spread as evenly as can be, no randomness.

Within a period of W = sum of weights samples, source k is drawn exactly weights[k] times, and at no moment is it ahead
or behind its share by more than 1 - 1/(2K-2) samples (Tijdeman 1980, "The chairman assignment problem", Discrete
Mathematics 32). A random draw would be off by about the square root of what was drawn.

Phases (warm-up, annealing) start at given samples; what a source has given is carried over, so no window is repeated
before its source is used up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

from core.errors import ConfigError

# The table of a period is kept in memory and made in time W * K; weights of four digits are finer than a corpus needs.
MAX_PERIOD = 100_000
PERMILLE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """From sample `start` on, source k has weight `weights[k]`; a weight may be 0, not all."""

    start: int
    weights: tuple[int, ...]


class Mixture:
    """The sequence of sources under phases, the first of which starts at sample 0 and the last of which never ends.

    Raises ConfigError if weights are negative, all zero or have too long a period, or if phases are out of order.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        check_phases(phases)
        self._phases = phases
        self._periods = [_Period(phase.weights) for phase in phases]
        self._before = [[0] * len(phases[0].weights)]  # draws of each source before each phase
        for phase, period, following in zip(phases, self._periods, phases[1:], strict=False):
            drawn = period.counts(following.start - phase.start)
            self._before.append([a + b for a, b in zip(self._before[-1], drawn, strict=True)])

    def draw(self, sample: int) -> tuple[int, int]:
        """The source of a sample, and how many samples that source gave before it."""
        phase = self._phase(sample)
        source, drawn = self._periods[phase].draw(sample - self._phases[phase].start)
        return source, self._before[phase][source] + drawn

    def counts(self, samples: int) -> list[int]:
        """How many of the first `samples` samples each source gives."""
        phase = self._phase(samples)
        drawn = self._periods[phase].counts(samples - self._phases[phase].start)
        return [a + b for a, b in zip(self._before[phase], drawn, strict=True)]

    def _phase(self, sample: int) -> int:
        return max(at for at, phase in enumerate(self._phases) if phase.start <= sample)


class _Period:
    """One phase's table, repeated for ever."""

    def __init__(self, weights: Sequence[int]) -> None:
        divisor = gcd(*weights)
        self._weights = [weight // divisor for weight in weights]
        self._table = assign_chairs(self._weights)
        self._rank: list[int] = []  # draws of the same source before this one, within the period
        seen = [0] * len(weights)
        for source in self._table:
            self._rank.append(seen[source])
            seen[source] += 1

    def draw(self, at: int) -> tuple[int, int]:
        period, place = divmod(at, len(self._table))
        source = self._table[place]
        return source, period * self._weights[source] + self._rank[place]

    def counts(self, samples: int) -> list[int]:
        period, rest = divmod(samples, len(self._table))
        return [period * weight + self._table[:rest].count(source) for source, weight in enumerate(self._weights)]


def assign_chairs(weights: Sequence[int]) -> list[int]:
    """Tijdeman's assignment for integer weights: which source is drawn at each place of one period.

    At each place, of the sources that are at least 1/(2K-2) behind their share, the one that must be drawn soonest.
    K counts the sources of positive weight. Exact: only integers are compared.
    """
    sources = [source for source, weight in enumerate(weights) if weight]
    if len(sources) == 1:
        return sources * weights[sources[0]]
    period, slack = sum(weights), 2 * len(sources) - 2
    drawn = [0] * len(weights)
    table = []
    for place in range(1, period + 1):
        # deadline of k: the first place at which k would be 1 - 1/slack behind: (drawn + 1 - 1/slack) * period / weight
        best, best_top, best_bottom = -1, 0, 0
        for source in sources:
            if (place * weights[source] - drawn[source] * period) * slack < period:
                continue
            top, bottom = slack * (drawn[source] + 1) - 1, weights[source]
            if best < 0 or top * best_bottom < best_top * bottom:
                best, best_top, best_bottom = source, top, bottom
        drawn[best] += 1
        table.append(best)
    assert drawn == list(weights), "the chairman table does not come out even"
    return table


def join_weights(base: Mapping[str, int], new: Mapping[str, int], *, share: int) -> dict[str, int]:
    """Weights under which `base` gives exactly `share` permille of the samples and `new` the rest, each in its ratio.

    The smallest such integers; no source may be in both. A source of weight 0, or on the side that gives nothing, is
    left out.
    """
    assert not base.keys() & new.keys(), "a source is on both sides"
    base_total, new_total = sum(base.values()) or 1, sum(new.values()) or 1
    joined = {name: weight * new_total * share for name, weight in base.items()}
    joined |= {name: weight * base_total * (PERMILLE - share) for name, weight in new.items()}
    divisor = gcd(*joined.values()) or 1
    return {name: weight // divisor for name, weight in sorted(joined.items()) if weight}


def check_phases(phases: Sequence[Phase]) -> None:
    """Raise ConfigError if weights are negative, all zero or have too long a period, or phases are out of order."""
    starts = [phase.start for phase in phases]
    if not starts or starts[0] != 0 or any(one >= other for one, other in pairwise(starts)):
        raise ConfigError(f"mixture phases start at samples {starts}; the first must start at 0, the others later")
    for phase in phases:
        if min(phase.weights) < 0 or max(phase.weights) == 0:
            raise ConfigError(f"mixture weights {phase.weights}: give integers of 0 or more, and one above 0")
        period = sum(phase.weights) // gcd(*phase.weights)
        if period > MAX_PERIOD:
            raise ConfigError(
                f"mixture weights sum to {period}, more than {MAX_PERIOD}; give coarser weights or a rounder share"
            )
