"""Verb `goodput`: where the time of a run went, from its journals; every second is counted once (docs/goodput.md).

Reads the first rank's journal in the training artifact, finished or not (`run.started`, `step.finished`, ...), and what
was noted outside: by the launcher and by attempts (`<run.out>/journal.jsonl`), by the coordinator of keepers
(`<run.out>/keeper/journal.jsonl`). All clocks are those of the machines that wrote, so nodes' clocks must agree.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.arguments import take
from core.artifact import WITNESS
from core.cli import recipe_and_overrides
from core.config import RunConfig, load
from core.errors import DataError
from core.journal import read_journal
from launch.account import Account, Kind
from launch.check import absolute
from launch.stages import RANKED
from launch.table import columns, duration

Event = dict[str, Any]

STARTED, STEPPED, FINISHED = "run.started", "step.finished", "run.finished"
SHIFTED = "work.shifted"
FAULTS = ("drill.struck", "fault.injected")
# "ended" and "started" are a whole launch under keepers; its generations begin in between.
ENDED = ("attempt.ended", "generation.ended", "failed", "ended")
TAKEN_UP = ("started", "attempt.began")
BEGAN = (*TAKEN_UP, "generation.began")
# The launcher did not mean to go on.
FOR_GOOD = ("stop", "give up")


@dataclass(slots=True)
class Life:
    """The first rank's events from one start to the next."""

    began: float
    ranks: int
    steps: list[Event] = field(default_factory=list)
    last: float = 0.0
    is_finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """The account of a run and what it did; `tokens` are those of steps that stay.

    `shifted` says how often slow ranks were given fewer micro-batches, or got them back; `first_start_s` is how long it
    was until the first step began, once in a run however long.
    """

    account: Account
    lives: int
    steps: int
    redone: int
    shifted: int
    tokens: float
    is_finished: bool
    first_start_s: float


def main(arguments: list[str]) -> None:
    """`RECIPE [--json] [key=value ...]`. Raises DataError if nothing has been trained there."""
    options, rest = take(arguments, flags=("--json",))
    recipe, overrides = recipe_and_overrides(rest, "python -m launch goodput")
    found = read(load(absolute(recipe), "run", RunConfig, overrides).out_folder)
    sys.stdout.write(as_json(found) if "--json" in options else as_table(found))


def read(out: Path) -> Goodput:
    """The newest training in a run's folder. Raises DataError if there is none."""
    name = f"{WITNESS}/journal-rank0.jsonl"
    journals = [*out.glob(f"{RANKED}-*/{name}"), *out.glob(f".{RANKED}-*.part/{name}")]
    if not journals:
        raise DataError(f"no journal of a training in {out}; train there first")
    rank = read_journal(max(journals, key=lambda path: path.stat().st_mtime))
    outside = [*read_journal(out / "journal.jsonl"), *read_journal(out / "keeper" / "journal.jsonl")]
    return count(rank, [event for event in outside if event.get("stage", RANKED) == RANKED])


def count(rank: Sequence[Event], outside: Sequence[Event]) -> Goodput:
    """Account for a run's time by the first rank's events and those that were noted outside."""
    lives = _lives(rank)
    if not lives:
        raise DataError("the journal tells of no start of a training; train first")
    marks = sorted(outside, key=lambda event: event["time"])
    newest = _newest(lives)
    full = max(life.ranks for life in lives)
    account = Account()
    now = began = _last_before(marks, BEGAN, lives[0].began, default=lives[0].began)
    for life, following in pairwise([*lives, None]):
        assert life
        now = _count_life(account, life, now=now, newest=set(newest.values()), share=life.ranks / full)
        now = _count_gap(account, life, following, now=now, marks=marks)
    steps = [event for life in lives for event in life.steps]
    kept = [event for event in steps if newest[event["step"]] == id(event)]
    return Goodput(
        account=account,
        lives=len(lives),
        steps=len(kept),
        redone=sum(not _is_replay(event) for event in steps if newest[event["step"]] != id(event)),
        shifted=sum(event["event"] == SHIFTED for event in rank),
        tokens=sum(event["tokens_per_s"] * event["seconds"] for event in kept),
        is_finished=lives[-1].is_finished,
        first_start_s=max(lives[0].steps[0]["time"] - lives[0].steps[0]["seconds"] - began, 0.0)
        if lives[0].steps
        else 0.0,
    )


def _is_replay(event: Event) -> bool:
    """Whether a step was brought back from the keepers' memory, where nothing of it was lost."""
    return event.get("compute_seconds") == 0


def _newest(lives: Sequence[Life]) -> dict[int, int]:
    """By step, which event is of the last time that it was computed."""
    newest: dict[int, int] = {}
    for event in (event for life in lives for event in life.steps):
        if event["step"] not in newest or not _is_replay(event):
            newest[event["step"]] = id(event)
    return newest


def _lives(rank: Sequence[Event]) -> list[Life]:
    lives: list[Life] = []
    for event in rank:
        if event["event"] == STARTED:
            lives.append(Life(event["time"], event["world_size"]))
        if not lives:
            continue
        lives[-1].last = event["time"]
        if event["event"] == STEPPED:
            lives[-1].steps.append(event)
        lives[-1].is_finished |= event["event"] == FINISHED
    return lives


def _count_life(account: Account, life: Life, *, now: float, newest: set[int], share: float) -> float:
    """From the decision to start to the last whole step; returns when that ended."""
    is_at_work = False
    for event in life.steps:
        began = max(event["time"] - event["seconds"], now)
        account.add(Kind.STALL if is_at_work else Kind.RESTART, began - now)
        spent = max(event["time"] - began, 0.0)
        if _is_replay(event):
            account.add(Kind.RESTART, spent)
            now = began + spent
            continue
        is_at_work = True
        stepping = min(event["step_seconds"], spent)
        account.add(Kind.STALL, spent - stepping)
        if id(event) in newest:
            account.add(Kind.STEP, stepping * share)
            account.add(Kind.SHRUNK, stepping * (1 - share))
        else:
            account.add(Kind.REDO, stepping)
        now = began + spent
    if not life.steps:
        account.add(Kind.RESTART, max(life.last - now, 0.0))
        now = max(life.last, now)
    return now


def _count_gap(account: Account, life: Life, following: Life | None, *, now: float, marks: Sequence[Event]) -> float:
    """From the last whole step to the decision to start again; returns when that was."""
    if life.is_finished:
        # What came later, such as a start that found all done, is no part of the run.
        account.add(Kind.STALL, max(life.last - now, 0.0))
        return following.began if following else life.last
    until = following.began if following else float("inf")
    between = [event for event in marks if now <= event["time"] <= until]
    ended = next((event for event in between if event["event"] in ENDED), None)
    fault = next((event["time"] for event in between if event["event"] in FAULTS), now)
    taken_up = [event["time"] for event in between if event["event"] in TAKEN_UP]
    seen = ended["time"] if ended else min(taken_up, default=_last_before(between, BEGAN, until, default=life.last))
    seen = max(seen, now)
    # What a rank did after its last whole step and before the fault is lost with it.
    account.add(Kind.REDO, min(fault, seen) - now)
    account.add(Kind.DETECT, seen - min(fault, seen))
    if not following:
        return seen
    is_for_good = not ended or ended.get("action") in FOR_GOOD
    # What a launch needs to begin its first generation is restart, not wait.
    began = max(taken_up, default=_last_before(between, BEGAN, until, default=until if is_for_good else seen))
    again = max(began, seen)
    account.add(Kind.WAIT, again - seen)
    return again


def _last_before(events: Sequence[Event], names: Sequence[str], time: float, *, default: float) -> float:
    return max(
        (event["time"] for event in events if event["event"] in names and event["time"] <= time), default=default
    )


def as_table(found: Goodput) -> str:
    """The account for people."""
    account = found.account
    rows = [(kind.value, duration(account.seconds[kind]), f"{100 * account.share(kind):.1f} %") for kind in Kind]
    told = [
        ("goodput", f"{100 * account.goodput:.1f} % of the time was spent on steps that stay"),
        ("tokens", f"{found.tokens / account.total if account.total else 0:,.0f} a second, each counted once"),
        ("steps", f"{found.steps} that stay, {found.redone} that were lost and done again"),
        ("starts", f"{found.lives}, {'finished' if found.is_finished else 'not finished'}"),
    ]
    if found.shifted:
        told.append(("work", f"moved between ranks {found.shifted} times, since some were slower than others"))
    all_of_it = ("all", duration(account.total), "100.0 %")
    return f"{columns([('spent on', 'time', 'share'), *rows, all_of_it])}\n\n{columns(told)}\n"


def as_json(found: Goodput) -> str:
    """The account for programs, in seconds."""
    seconds = {kind.value: found.account.seconds[kind] for kind in Kind}
    facts = {
        "starts": found.lives,
        "steps": found.steps,
        "redone": found.redone,
        "shifted": found.shifted,
        "tokens": found.tokens,
    }
    whole = {"seconds": seconds, "total": found.account.total, "goodput": found.account.goodput}
    return json.dumps({**whole, **facts, "is_finished": found.is_finished}) + "\n"
