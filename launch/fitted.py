"""The simulator held against a drill: fed with what the drill's journals tell, it must give the drill's goodput.

Fed are means over all starts after the first: how often training stopped, how long until somebody knew, until another
generation began, until its first step, and how much was done again; and what a step takes and waits for. What the means
leave out is what the comparison shows: a drill's faults come at intervals of their own and not at exponential ones,
some come into a recovery, and costs differ from class to class.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from core.errors import DataError
from core.journal import read_journal
from launch.account import Account, Kind
from launch.drills.rounds import Round
from launch.goodput import STEPPED
from launch.simulate import Design, Life
from launch.table import columns

SEEDS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a drill was like, in means over its `stops`, and the simulator's account of such a one. Times in seconds."""

    design: Design
    mttf: float
    start_s: float
    stops: int
    measured: Account
    simulated: Account

    @property
    def error(self) -> float:
        """By how much the simulated goodput is above the measured one."""
        return self.simulated.goodput - self.measured.goodput


def read(folder: Path) -> Fitted:
    """Fit the simulator to a drill's folder. Raises DataError if there is none, or nothing has stopped the ranks."""
    path = folder / "report.json"
    if not path.exists():
        raise DataError(f"there is no report.json in {folder}; give the folder that python -m launch drill has named")
    rounds = [Round.of(one) for one in json.loads(path.read_bytes()).get("rounds", [])]
    return fit(rounds, [first_step_s(folder / f"round-{one.number:04d}" / "journals") for one in rounds])


def first_step_s(journals: Path) -> float:
    """From the first generation's beginning, where a round's account begins, to its first step."""
    coordinator = read_journal(journals / "keeper-journal.jsonl")
    began = next((event["time"] for event in coordinator if event["event"] == "generation.began"), 0.0)
    steps = read_journal(journals / "witness-journal-rank0.jsonl")
    first = next((event["time"] - event["step_seconds"] for event in steps if event["event"] == STEPPED), 0.0)
    if not began or not first:
        raise DataError(f"{journals} tells of no start and first step; give the folder of a whole drill")
    return float(max(first - began, 0.0))


def fit(rounds: Sequence[Round], starts_s: Sequence[float]) -> Fitted:
    """Fit the simulator to rounds, whose first steps came so long after their starts, and run it as often and long."""
    measured = Account({kind: sum(one.seconds.get(kind.value, 0.0) for one in rounds) for kind in Kind})
    seconds = measured.seconds
    stops, steps = sum(one.starts - 1 for one in rounds), sum(one.steps for one in rounds)
    if stops < 1 or not steps:
        raise DataError("no fault of this drill has stopped the ranks, so there is nothing to compare; inject more")
    step_s = (seconds[Kind.STEP] + seconds[Kind.SHRUNK]) / steps
    redo_s = seconds[Kind.REDO] / stops
    design = Design(
        save_every_s=step_s,
        stall_s=seconds[Kind.STALL] / steps,
        write_s=0.0,
        detect_s=seconds[Kind.DETECT] / stops,
        hang_s=seconds[Kind.DETECT] / stops,
        audit_s=redo_s,
        is_replicated=True,
        p_both=0.0,
        # The simulator takes a part of this at random, half of it in the mean.
        step_s=2 * redo_s,
        restart_s=max(seconds[Kind.RESTART] - sum(starts_s), 0.0) / stops,
        spares=0,
        schedule_s=seconds[Kind.WAIT] / stops,
    )
    mttf = (measured.total - sum(starts_s) - seconds[Kind.DETECT] - seconds[Kind.WAIT]) / stops
    return Fitted(
        design=design,
        mttf=mttf,
        start_s=fmean(starts_s),
        stops=stops,
        measured=measured,
        simulated=simulated(design, rounds, starts_s, mttf=mttf),
    )


def simulated(design: Design, rounds: Sequence[Round], starts_s: Sequence[float], *, mttf: float) -> Account:
    """The mean account of many simulated drills with rounds of these lengths."""
    accounts = [_live(design, rounds, starts_s, mttf=mttf, seed=seed) for seed in range(SEEDS)]
    return Account({kind: fmean(account.seconds[kind] for account in accounts) for kind in Kind})


def _live(design: Design, rounds: Sequence[Round], starts_s: Sequence[float], *, mttf: float, seed: int) -> Account:
    account = Account()
    shrunk = sum(one.seconds.get(Kind.SHRUNK.value, 0.0) for one in rounds)
    shrunk_share = shrunk / (shrunk + sum(one.seconds.get(Kind.STEP.value, 0.0) for one in rounds))
    for at, (one, start_s) in enumerate(zip(rounds, starts_s, strict=True)):
        life = Life(design, nodes=1, mttf=mttf, seed=seed * len(rounds) + at)
        lived = life.live(max(sum(one.seconds.values()) - start_s, 0.0))
        account.add(Kind.RESTART, start_s)
        for kind, seconds in lived.seconds.items():
            account.add(kind, seconds)
    # How many nodes there are is not simulated: it hangs on when each of them comes back.
    fewer = account.seconds[Kind.STEP] * shrunk_share
    account.add(Kind.STEP, -fewer)
    account.add(Kind.SHRUNK, fewer)
    return account


def as_table(fitted: Fitted) -> str:
    """Both accounts, and what the simulator was fed with."""
    design = fitted.design
    told = [
        ("training stopped", f"{fitted.stops} times, once in {fitted.mttf:.2f} s of training and restarts"),
        ("somebody knew after", f"{design.detect_s:.2f} s"),
        ("another generation began after", f"{design.schedule_s:.2f} s"),
        ("its first step after", f"{design.restart_s:.2f} s"),
        ("done again", f"{design.step_s / 2:.2f} s"),
        ("a step, and what it waits for", f"{design.save_every_s:.3f} s, {design.stall_s:.3f} s"),
        ("the first step of a run after", f"{fitted.start_s:.2f} s"),
    ]
    rows = [
        (kind.value, f"{100 * fitted.measured.share(kind):.1f} %", f"{100 * fitted.simulated.share(kind):.1f} %")
        for kind in Kind
    ]
    said = f"simulated goodput is {100 * abs(fitted.error):.1f} points {'above' if fitted.error > 0 else 'below'}"
    header = ("share of time", "drill", "simulated")
    return f"{columns(told)}\n\n{columns([header, *rows])}\n\n{said} the drill's\n"
