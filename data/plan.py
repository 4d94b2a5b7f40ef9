"""Verb plan: what a run will take of each source in each phase, before anything runs; refuses what cannot be.

`python -m data plan RECIPE [--json] [key=value ...]`. Reads sections pack, sources and, as plain values, train, and
whatever of the run's artifacts is there: see supply.py for what the sizes of the sources rest on.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from core.cli import recipe_and_overrides
from core.config import RunConfig, load, resolve
from core.errors import ConfigError
from core.hashing import canonical_json
from data.chat import Form
from data.course import Course, RunLength, plan_course
from data.limits import check_epochs
from data.order import order_of
from data.packconfig import PackConfig
from data.sources.config import SourcesConfig
from data.supply import Basis, Supply, find_made, find_supplies

USAGE = "python -m data plan [--json]"
JSON = "--json"

# Files may be compressed or mostly markup: a guess from their size refuses a run only if it is over a limit this often.
GUESS_MARGIN = 20
SAID = {
    Basis.PARENT: "exact, from the parent",
    Basis.PACK: "exact, packed",
    Basis.CLEAN: "an estimate from the cleaned text",
    Basis.FETCH: "a guess from the fetched files",
    Basis.FILES: "a guess from the files it names",
}


Record = dict[str, Any]


def main(arguments: list[str]) -> None:
    """Run the verb: the tables, or JSON, go to standard output. Raises ConfigError for a run that cannot be."""
    recipe, overrides = recipe_and_overrides([text for text in arguments if text != JSON], USAGE)
    config = load(recipe, "pack", PackConfig, overrides)
    items = load(recipe, "sources", SourcesConfig, overrides).items
    course = plan_course(config, resolve(recipe, overrides))
    if course.run is None:
        raise ConfigError(f"recipe {recipe} has no section train to say how long the run is; add it")
    course.check_sources([item.name for item in items])
    course.check_end()
    made = find_made(load(recipe, "run", RunConfig, overrides))
    supplies = find_supplies(course, {item.name: item for item in items}, made)
    planned = plan_run(course, course.run, supplies)
    sys.stdout.write(f"{canonical_json(planned).decode()}\n" if JSON in arguments else page(planned))


def plan_run(course: Course, run: RunLength, supplies: Sequence[Supply]) -> Record:
    """What a run takes, as JSON values: `run`, `phases` and `sources`. Raises ConfigError if it breaks a limit."""
    own = [{"name": one.name, "windows": one.windows} for one in supplies if one.basis is not Basis.PARENT]
    record = course.record(own)
    order, seq_len = order_of(record), course.config.seq_len
    drawn, limits = order.drawn(run.samples), record.get("max_epochs", {})
    check_limits(limits, supplies, drawn=drawn)
    starts = [phase["start"] for phase in record["phases"]]
    windows = {one.name: one.windows for one in supplies}
    phases = []
    for phase, end in zip(record["phases"], [*starts[1:], run.samples], strict=True):
        before, after = order.drawn(phase["start"]), order.drawn(end)
        taken = {name: after[name] - before[name] for name in sorted(phase["weights"])}
        phases.append(
            {
                "phase": phase.get("name", "all"),
                "start_sample": phase["start"],
                "windows": end - phase["start"],
                "tokens": (end - phase["start"]) * seq_len,
                "sources": [
                    {
                        "source": name,
                        "weight": phase["weights"][name],
                        "windows": count,
                        "tokens": count * seq_len,
                        "epochs": count / windows[name],
                    }
                    for name, count in taken.items()
                ],
            }
        )
    return {
        "run": {
            "steps": run.steps,
            "micro_batches": run.shape.micro_batches,
            "micro_batch": run.shape.micro_batch,
            "seq_len": seq_len,
            "windows": run.samples,
            "tokens": run.samples * seq_len,
        },
        **({} if course.config.form is Form.TEXT else {"form": course.config.form.value}),
        "is_exact": all(one.basis.is_exact for one in supplies),
        "phases": phases,
        "sources": [_total(one, drawn[one.name], seq_len=seq_len, limit=limits.get(one.name, 0)) for one in supplies],
    }


def check_limits(limits: Mapping[str, int], supplies: Sequence[Supply], *, drawn: Mapping[str, int]) -> None:
    """Raise ConfigError if a limit is broken, exactly or by an estimate, or, where there is only a guess, by far."""
    for one in supplies:
        if one.name in limits:
            check_epochs(
                one.name,
                drawn=drawn[one.name],
                windows=one.windows,
                allowed=limits[one.name],
                basis="" if one.basis.is_exact else SAID[one.basis],
                margin=GUESS_MARGIN if one.basis.is_guess else 1,
            )


def _total(supply: Supply, drawn: int, *, seq_len: int, limit: int) -> Record:
    """A source over the whole run; epochs count from the parent's beginning, `max_epochs` 0 is no limit."""
    return {
        "source": supply.name,
        "basis": supply.basis.value,
        "tokens_there": supply.tokens,
        "windows_there": supply.windows,
        "windows_before": supply.drawn,
        "windows": drawn - supply.drawn,
        "tokens": (drawn - supply.drawn) * seq_len,
        "epochs_before": supply.drawn / supply.windows,
        "epochs": drawn / supply.windows,
        "max_epochs": limit,
        **_whole(supply, drawn),
    }


def _whole(supply: Supply, drawn: int) -> Record:
    """Of conversations and pairs how many there are, what counts of them, and of all that is taken, to a window."""
    if not supply.documents:
        return {}
    taken = round(supply.targets * drawn / supply.windows)
    return {"documents_there": supply.documents, "targets_there": supply.targets, "targets": taken}


def page(planned: Record) -> str:
    """The plan for people: the run in a line, a table of the phases, a table of the sources."""
    run = planned["run"]
    shape = f"{run['micro_batches']} x {run['micro_batch']}"
    head = (
        f"{run['steps']:,} steps of {shape} windows of {run['seq_len']:,} tokens: "
        f"{run['windows']:,} windows, {run['tokens']:,} tokens"
    )
    tables = [*_phase_table(planned["phases"]), "", *_source_table(planned["sources"]), ""]
    if "form" in planned:
        tables += [*_whole_table(planned["sources"], planned["form"]), ""]
    return "\n".join([head, "", *tables])


def _whole_table(sources: Sequence[Record], form: str) -> list[str]:
    """What counts: of the tokens of windows, padding and prompts do not."""
    rows = [["source", form, "targets that count there", "of the run, about"]]
    for one in sources:
        counts = (one.get(name, 0) for name in ("documents_there", "targets_there", "targets"))
        rows.append([one["source"], *(f"{count:,}" if count else "not known yet" for count in counts)])
    return _columns(rows, left=(0,))


def _phase_table(phases: Sequence[Record]) -> list[str]:
    rows = [["phase", "from window", "source", "weight", "share", "windows", "tokens", "epochs"]]
    for phase in phases:
        name, start = phase["phase"], f"{phase['start_sample']:,}"
        for one in phase["sources"]:
            share = f"{100 * one['windows'] / max(phase['windows'], 1):.1f}%"
            counts = [f"{one['windows']:,}", f"{one['tokens']:,}", f"{one['epochs']:.2f}"]
            rows.append([name, start, one["source"], str(one["weight"]), share, *counts])
            name = start = ""
        rows.append(["", "", "together", "", "", f"{phase['windows']:,}", f"{phase['tokens']:,}", ""])
    return _columns(rows, left=(0, 2))


def _source_table(sources: Sequence[Record]) -> list[str]:
    rows = [
        ["source", "tokens there", "windows there", "taken", "epochs before", "epochs in all", "allowed", "size is"]
    ]
    for one in sources:
        epochs = [f"{one['epochs_before']:.2f}", f"{one['epochs']:.2f}", str(one["max_epochs"] or "any")]
        counts = [f"{one[name]:,}" for name in ("tokens_there", "windows_there", "windows")]
        is_over = one["max_epochs"] and one["epochs"] > one["max_epochs"]
        said = SAID[Basis(one["basis"])] + (", and over what is allowed if it holds" if is_over else "")
        rows.append([one["source"], *counts, *epochs, said])
    return _columns(rows, left=(0, 7))


def _columns(rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if at in left else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
