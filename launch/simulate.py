"""Verb `simulate`: how much of its time a large job trains, by how it is built: a Monte-Carlo of failures.

Failures are exponential, at a study's rate (launch/failures.py), and take a node away, but for silent corruption,
which is found by an audit and takes steps away. Every second is counted once, in the terms of docs/goodput.md. Not in
the model: failures that come together (a switch, a rack), nodes that fail more often than others, failing spares.
"""

import heapq
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from core.arguments import take
from core.errors import ConfigError
from launch.account import Account, Kind
from launch.failures import HOUR_S, NETWORK_SHARE, SILENT_SHARE, Rate, daly_interval_s, mttf_s
from launch.table import columns

SIZES = (16, 128, 1_024, 4_096, 16_384, 24_000)
GPUS_A_NODE = 8
DAYS, SEEDS = 54.0, 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What a run does about failures; all times in seconds. `save_every_s` 0 is Daly's interval for the size.

    stall_s         a save holds training up for so long
    write_s         and is on durable storage so much later
    detect_s        a crash or a lost node is noticed after this,
    hang_s          and a hang after this
    audit_s         silent corruption, and then all since it began is done again
    is_replicated   every step's state is in another node's memory too; both are lost with probability `p_both`
    restart_s       from the decision to the first step, with all nodes there
    spares          nodes of the job that wait; when they are used up: `is_elastic` goes on with fewer, else a new node
                    is waited for `schedule_s`
    repair_s        a failed node is back as a spare after this
    is_plain        as the closed form has it: all failures are crashes, after which the same nodes go on
    """

    save_every_s: float = 600.0
    stall_s: float = 2.0
    write_s: float = 120.0
    detect_s: float = 5.0
    hang_s: float = 600.0
    audit_s: float = 500.0
    is_replicated: bool = False
    p_both: float = 0.02
    restart_s: float = 105.0
    spares: int = 64
    is_elastic: bool = False
    schedule_s: float = 600.0
    repair_s: float = 24 * HOUR_S
    step_s: float = 10.0
    is_plain: bool = False


SAVING = Design(stall_s=60, write_s=0, save_every_s=HOUR_S, hang_s=1800, spares=0)
SPARES = Design()
WATCHED = replace(SPARES, hang_s=60)
REPLICATED = replace(WATCHED, is_replicated=True, restart_s=50)
DESIGNS: Mapping[str, Design] = {
    "blocking save of 60 s each hour, hangs seen after 30 min, requeued": SAVING,
    "the same at Daly's interval": replace(SAVING, save_every_s=0),
    "save beside training (2 s) each 10 min, spares in the job": SPARES,
    "and hangs seen after 60 s": WATCHED,
    "and state in a buddy's memory each step": REPLICATED,
    "and recovery in 10 s": replace(REPLICATED, restart_s=10),
    "the same without spares, going on with fewer nodes": replace(REPLICATED, restart_s=10, spares=0, is_elastic=True),
}


class Life:
    """One run's time under failures."""

    def __init__(self, design: Design, *, nodes: int, mttf: float, seed: int) -> None:
        self.design = design
        self.account = Account()
        self._random = random.Random(seed)
        self._needed = nodes
        self._there, self._spares = self._needed, design.spares
        self._mttf = mttf
        self._every = design.save_every_s or daly_interval_s(design.stall_s, self._mttf)
        self._position = 0.0
        self._repairs: list[float] = []

    def live(self, seconds: float) -> Account:
        """Train and fail until so much time has passed."""
        while (now := self.account.total) < seconds:
            left = seconds - now
            failure = self._next_failure()
            self._take_back(now)
            repair = self._repairs[0] - now if self._repairs and self._there < self._needed else left
            if repair < min(failure, left):
                # Failures have no memory: the next one may be drawn anew.
                self._train(repair)
            elif failure < left:
                self._train(failure)
                self._recover()
            else:
                self._train(left)
        return self.account

    def _next_failure(self) -> float:
        return self._random.expovariate(self._there / self._needed / self._mttf)

    def _train(self, seconds: float) -> None:
        cycle = self._every + self.design.stall_s
        before = self._position
        cycles, self._position = divmod(before + seconds, cycle)
        worked = cycles * self._every + min(self._position, self._every) - min(before, self._every)
        speed = self._there / self._needed
        self.account.add(Kind.STEP, worked * speed)
        self.account.add(Kind.SHRUNK, worked * (1 - speed))
        self.account.add(Kind.STALL, seconds - worked)

    def _recover(self) -> None:
        design = self.design
        drawn = self._random.random()
        is_silent = drawn < SILENT_SHARE and not design.is_plain
        is_hang = SILENT_SHARE <= drawn < SILENT_SHARE + NETWORK_SHARE and not design.is_plain
        self._redo(self._lost(is_silent=is_silent))
        self._position = 0.0
        if design.is_plain:
            self._stand_still(design.restart_s)
            return
        detect = 0.0 if is_silent else design.hang_s if is_hang else design.detect_s
        self.account.add(Kind.DETECT, detect)
        self._replace_node()
        self._stand_still(design.restart_s)

    def _stand_still(self, seconds: float) -> None:
        """Start again, and from the beginning if that fails too."""
        while (failure := self._next_failure()) < seconds:
            self.account.add(Kind.RESTART, failure)
        self.account.add(Kind.RESTART, seconds)

    def _lost(self, *, is_silent: bool) -> float:
        design = self.design
        if is_silent:
            return design.audit_s
        if design.is_replicated and self._random.random() >= design.p_both:
            return self._random.random() * design.step_s
        since_save = min(self._position, self._every)
        return since_save + (self._every if self._position < design.write_s else 0.0)

    def _redo(self, seconds: float) -> None:
        """What was taken for steps that stay was none."""
        lost = min(seconds * self._there / self._needed, self.account.seconds[Kind.STEP])
        self.account.add(Kind.STEP, -lost)
        self.account.add(Kind.REDO, lost)

    def _replace_node(self) -> None:
        heapq.heappush(self._repairs, self.account.total + self.design.repair_s)
        if self._spares:
            self._spares -= 1
        elif self.design.is_elastic and self._there > 1:
            self._there -= 1
        else:
            self.account.add(Kind.WAIT, self.design.schedule_s)

    def _take_back(self, now: float) -> None:
        while self._repairs and self._repairs[0] <= now:
            heapq.heappop(self._repairs)
            if self._there < self._needed:
                self._there += 1
            elif self._spares < self.design.spares:
                self._spares += 1


def simulate(design: Design, *, gpus: int, rate: Rate, days: float, seed: int) -> Account:
    """How a run of so many days spends its time."""
    nodes = max(1, gpus // GPUS_A_NODE)
    return Life(design, nodes=nodes, mttf=mttf_s(rate, gpus), seed=seed).live(days * 24 * HOUR_S)


def mean_account(design: Design, *, gpus: int, rate: Rate, days: float, seeds: int) -> Account:
    """The mean of several runs."""
    accounts = [simulate(design, gpus=gpus, rate=rate, days=days, seed=seed) for seed in range(seeds)]
    return Account({kind: fmean(account.seconds[kind] for account in accounts) for kind in Kind})


def main(arguments: list[str]) -> None:
    """`[--gpus N,N,...] [--rate llama3|meta_1k|meta_16k] [--days D] [--seeds S] [--detail N] [--drill FOLDER]`.

    `--detail N` tells for N GPUs where the time goes; `--drill FOLDER` holds the model against a drill (fitted.py).
    """
    options, rest = take(arguments, values=("--gpus", "--rate", "--days", "--seeds", "--detail", "--drill"))
    if rest:
        raise ConfigError(f"{rest[0]!r} is not understood; usage: python -m launch simulate [--gpus 1024,24000]")
    name = options.get("--rate", "llama3").upper()
    if name not in Rate.__members__:
        raise ConfigError(f"--rate {name.lower()} is none of {', '.join(rate.name.lower() for rate in Rate)}")
    rate = Rate[name]
    sizes = _numbers(options.get("--gpus", ",".join(map(str, SIZES))))
    days, seeds = _numbers(options.get("--days", str(DAYS)))[0], int(_numbers(options.get("--seeds", str(SEEDS)))[0])
    if "--drill" in options:
        from launch import fitted

        sys.stdout.write(fitted.as_table(fitted.read(Path(options["--drill"]))))
    elif "--detail" in options:
        sys.stdout.write(detail(int(_numbers(options["--detail"])[0]), rate=rate, days=days, seeds=seeds))
    else:
        sys.stdout.write(overview([int(size) for size in sizes], rate=rate, days=days, seeds=seeds))


def overview(sizes: Sequence[int], *, rate: Rate, days: float, seeds: int) -> str:
    """The share of time in steps that stay, by design and size."""
    header = ["share of time in steps that stay", *(f"{size:,} GPUs" for size in sizes)]
    failing = ["mean time to failure", *(f"{mttf_s(rate, size) / HOUR_S:,.1f} h" for size in sizes)]
    rows = [
        [name, *(f"{mean_account(design, gpus=size, rate=rate, days=days, seeds=seeds).goodput:.3f}" for size in sizes)]
        for name, design in DESIGNS.items()
    ]
    return columns([header, failing, *rows]) + "\n"


def detail(gpus: int, *, rate: Rate, days: float, seeds: int) -> str:
    """Where the time goes, by design."""
    header = [f"{gpus:,} GPUs", *(kind.value for kind in Kind)]
    rows = []
    for name, design in DESIGNS.items():
        account = mean_account(design, gpus=gpus, rate=rate, days=days, seeds=seeds)
        rows.append([name, *(f"{account.share(kind):.4f}" for kind in Kind)])
    return columns([header, *rows]) + "\n"


def _numbers(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{text!r} is no number, nor numbers with commas between them") from error
    if min(numbers) <= 0:
        raise ConfigError(f"{text!r}: give numbers above 0")
    return numbers
