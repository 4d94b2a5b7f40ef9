"""What a drill has shown: a table for people, Markdown for the documentation, JSON for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from launch.drills.ends import End
from launch.drills.rounds import Round
from launch.drills.verdict import SURVIVED, Told
from launch.table import columns

HEADER = ("fault", "injected", "survived", "found, median and worst", "new step, median and worst", "steps redone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole drill; `load` are the load averages at its start and end."""

    seed: int
    commit: str
    load: tuple[float, float]
    seconds: float
    undisturbed: str
    rounds: list[Round]
    ends: list[End]
    left_out: dict[str, str]

    @property
    def faults(self) -> list[Told]:
        """Those that hit something."""
        return [one for made in self.rounds for one in made.faults if one.is_injected]

    @property
    def wrong(self) -> list[str]:
        """All that is not as it should be, in words."""
        rounds = [f"round {made.number}: {made.why}" for made in self.rounds if made.why]
        faults = [
            f"fault {one.number}, {one.name}: {one.verdict} {one.why}".rstrip()
            for one in self.faults
            if one.verdict != SURVIVED
        ]
        return [*rounds, *faults, *(f"{one.name}: {one.why}" for one in self.ends if one.why)]

    @property
    def goodput(self) -> float:
        """The share of all rounds' time that was spent on steps that stay."""
        return self._step_s / self.run_s if self.run_s else 0.0

    @property
    def goodput_once_begun(self) -> float:
        """The same share of the time from the first step of each round on: drills are short, and runs are long."""
        begun_s = self.run_s - sum(made.first_start_s for made in self.rounds)
        return self._step_s / begun_s if begun_s else 0.0

    @property
    def run_s(self) -> float:
        """All rounds' time."""
        return sum(sum(made.seconds.values()) for made in self.rounds)

    @property
    def _step_s(self) -> float:
        return sum(made.seconds.get("step", 0.0) for made in self.rounds)


def rows(faults: Sequence[Told]) -> list[tuple[str, ...]]:
    """A line for each class, and one for all."""
    names = sorted({one.name for one in faults})
    return [*(_row(name, [one for one in faults if one.name == name]) for name in names), _row("all", faults)]


def _row(name: str, faults: Sequence[Told]) -> tuple[str, ...]:
    survived = sum(one.verdict == SURVIVED for one in faults)
    found, recovered = [one.found_s for one in faults], [one.recovered_s for one in faults]
    redone = sum(one.redone_steps for one in faults)
    return name, str(len(faults)), str(survived), _times(found), _times(recovered), str(redone)


def _times(seconds: Sequence[float]) -> str:
    known = [one for one in seconds if one >= 0]
    return f"{median(known):.2f} s, {max(known):.2f} s" if known else "-"


def facts(report: Report) -> list[tuple[str, str]]:
    """What is said besides the table."""
    faults = report.faults
    drawn = sum(len(made.faults) for made in report.rounds)
    equal = sum(not made.why for made in report.rounds)
    again = sum(one.facts.get("started_again", 0) for one in faults)
    kinds = {name: sum(made.seconds.get(name, 0.0) for made in report.rounds) for name in _kinds(report)}
    survived = sum(one.verdict == SURVIVED for one in faults)
    right = sum(not one.why for one in report.ends)
    return [
        ("faults", f"{len(faults)} injected, {survived} survived; {drawn - len(faults)} drawn that hit nothing"),
        ("meeting a recovery", str(sum(one.is_hasty for one in faults))),
        ("runs that must end", f"{len(report.ends)}, {right} of them for the right reason"),
        ("runs", f"{len(report.rounds)}, {equal} of them equal to the undisturbed one to the last byte"),
        ("its digest", report.undisturbed),
        ("steps", f"{sum(made.steps for made in report.rounds)} in {sum(made.starts for made in report.rounds)} lives"),
        ("committed steps redone", str(sum(one.redone_steps for one in faults))),
        ("taken for another kind", str(sum(bool(one.taken_for) for one in faults))),
        ("started again after 75", str(again)),
        ("a fault every", f"{report.run_s / len(faults) if faults else 0:.1f} s"),
        ("goodput once begun", f"{100 * report.goodput_once_begun:.1f} %"),
        ("goodput", f"{100 * report.goodput:.1f} % ({', '.join(f'{name} {kinds[name]:.0f} s' for name in kinds)})"),
        ("time", f"{report.seconds:.0f} s; load average {report.load[0]:.1f} to {report.load[1]:.1f}"),
        ("seed, commit", f"{report.seed}, {report.commit}"),
        *(("left out", f"{name}: {why}") for name, why in report.left_out.items()),
    ]


def as_table(report: Report) -> str:
    """For people."""
    ends = [(one.name, str(one.exit_code), one.why or "as it should") for one in report.ends]
    parts = [
        columns([HEADER, *rows(report.faults)]),
        *([columns([("a run that must end", "code", "verdict"), *ends])] if ends else []),
        columns(facts(report)),
        *(["not as it should be:\n" + "\n".join(report.wrong)] if report.wrong else []),
    ]
    return "\n\n".join(parts) + "\n"


def as_markdown(report: Report) -> str:
    """For the documentation."""
    table = [HEADER, tuple("---" for _ in HEADER), *rows(report.faults)]
    ends = [f"- {one.name}: {one.exit_code}, {one.why or 'as it should'}" for one in report.ends]
    said = [f"- {name}: {text}" for name, text in facts(report)]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in table), "", *ends, "", *said, *report.wrong]) + "\n"


def as_json(report: Report) -> str:
    """For programs: everything."""
    told: dict[str, Any] = asdict(report)
    return json.dumps({**told, "goodput": report.goodput, "wrong": report.wrong}, indent=1) + "\n"


def _kinds(report: Report) -> list[str]:
    return sorted({name for made in report.rounds for name in made.seconds})
