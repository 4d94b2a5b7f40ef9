"""The data order: which window of which source stands at a place of a step, as a pure function without state.

    sample = ((step - 1) * M + index) * B + row, its place within the step permuted by (seed, step)
    source, n-th draw of that source            = mixture (exact, low discrepancy)
    epoch, place in the epoch                   = divmod(n + drawn before, windows of the source)
    window                                      = permutation keyed by (seed of the source, source name, epoch)

The permutation within a step spreads the sources over its micro-batches: without it, the mixture's period would beat
with the batch shape and some micro-batches would always hold one source. Which samples a step holds does not change.
Nobody's number of ranks, and not the length of the training, enters anywhere.

A source of a parent's run keeps the parent's seed and goes on after the draws that the parent made (`drawn`), so that
a continued run repeats none of its windows before all have been seen. A run's own sources have the run's seed and 0.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from core.errors import ConfigError
from data.mixture import Mixture, Phase
from data.permutation import Permutation, keyed

FORMAT = "wholegrain-order-1"
# Of conversations and pairs: code that knows nothing of masks must not take their windows for a stream of text.
MASKED_FORMAT = "wholegrain-masked-order-1"
HEAD_WINDOWS = 4096
# The last steps are far in later epochs of any corpus: a changed epoch key shows there.
VECTOR_STEPS = (1, 2, 3, 240, 10_007, 1_000_003, 1_000_000_007)


class Sample(NamedTuple):
    """A window of a source, in the source's epoch; `source` is the index in the order's sources."""

    source: int
    epoch: int
    window: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShape:
    """What a step holds: micro_batches (M) times micro_batch (B) windows."""

    micro_batches: int
    micro_batch: int

    def __post_init__(self) -> None:
        if self.micro_batches < 1 or self.micro_batch < 1:
            raise ConfigError(
                f"a step of {self.micro_batches} micro-batches of {self.micro_batch} windows; give at least 1 of 1"
            )

    @property
    def samples(self) -> int:
        """Windows in a step."""
        return self.micro_batches * self.micro_batch


VECTOR_SHAPES = (StepShape(micro_batches=8, micro_batch=4), StepShape(micro_batches=11, micro_batch=3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What the order knows of a source: its windows, the seed of its shuffles, and the draws of the runs before."""

    name: str
    windows: int
    seed: int
    drawn: int = 0


class Order:
    """The order over sources; `seed` is that of the places within a step."""

    def __init__(self, stocks: Sequence[Stock], *, seed: int, phases: Sequence[Phase]) -> None:
        self.names = tuple(stock.name for stock in stocks)
        self.windows = tuple(stock.windows for stock in stocks)
        self._stocks = tuple(stocks)
        self._seed = seed
        self._mixture = Mixture(phases)

    def sample(self, step: int, index: int, row: int, shape: StepShape) -> Sample:
        """What stands in a row of a micro-batch of a step.

        Steps count from 1, micro-batches and rows from 0. Raises ConfigError if one of them is out of range.
        """
        _check_place(step, index, row, shape)
        place = keyed(shape.samples, self._seed, "place", step)(index * shape.micro_batch + row)
        source, drawn = self._mixture.draw((step - 1) * shape.samples + place)
        stock = self._stocks[source]
        epoch, place = divmod(stock.drawn + drawn, stock.windows)
        return Sample(source, epoch, self._shuffle(source, epoch)(place))

    def drawn(self, samples: int) -> dict[str, int]:
        """How many windows of each source have been drawn after `samples` samples, those of runs before included."""
        counts = self._mixture.counts(samples)
        return {stock.name: stock.drawn + count for stock, count in zip(self._stocks, counts, strict=True)}

    def epochs(self, samples: int) -> dict[str, float]:
        """How often the first `samples` samples go through each source."""
        drawn = self._mixture.counts(samples)
        return {name: n / windows for name, n, windows in zip(self.names, drawn, self.windows, strict=True)}

    def head(self, source: int) -> str:
        """SHA-256 over the first windows of a source's first epoch, computed many at a time, as 64-bit integers."""
        places = np.arange(min(self.windows[source], HEAD_WINDOWS), dtype=np.uint64)
        return hashlib.sha256(self._shuffle(source, 0).many(places).astype("<u8").tobytes()).hexdigest()

    def _shuffle(self, source: int, epoch: int) -> Permutation:
        stock = self._stocks[source]
        return keyed(stock.windows, stock.seed, "window", stock.name, epoch)


def order_of(record: Mapping[str, Any]) -> Order:
    """The order that a record (order.json) describes."""
    names = [source["name"] for source in record["sources"]]
    phases = [
        Phase(start=phase["start"], weights=tuple(phase["weights"].get(name, 0) for name in names))
        for phase in record["phases"]
    ]
    stocks = [
        Stock(
            name=source["name"],
            windows=source["windows"],
            seed=source.get("seed", record["seed"]),
            drawn=source.get("drawn", 0),
        )
        for source in record["sources"]
    ]
    return Order(stocks, seed=record["seed"], phases=phases)


def vectors(order: Order) -> dict[str, Any]:
    """Places and what must stand there: kept in order.json, so that a changed algorithm cannot go unnoticed."""
    samples = []
    for shape in VECTOR_SHAPES:
        for step in VECTOR_STEPS:
            index, row = step % shape.micro_batches, step % shape.micro_batch
            sample = order.sample(step, index, row, shape)
            samples.append(
                {
                    "micro_batches": shape.micro_batches,
                    "micro_batch": shape.micro_batch,
                    "step": step,
                    "index": index,
                    "row": row,
                    "source": order.names[sample.source],
                    "epoch": sample.epoch,
                    "window": sample.window,
                }
            )
    heads = {name: order.head(source) for source, name in enumerate(order.names)}
    return {"samples": samples, "heads": heads}


def _check_place(step: int, index: int, row: int, shape: StepShape) -> None:
    if step < 1:
        raise ConfigError(f"step {step} has no batch: steps count from 1")
    if not 0 <= index < shape.micro_batches:
        raise ConfigError(f"micro-batch {index} of step {step} is not one of 0..{shape.micro_batches - 1}")
    if not 0 <= row < shape.micro_batch:
        raise ConfigError(f"row {row} of step {step} is not one of 0..{shape.micro_batch - 1}")
