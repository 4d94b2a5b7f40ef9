"""The closing table of a run: every stage, then the bundle, its root, the ledger's heads and the verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.artifact import Artifact
from launch.strike import Survived

DIGEST_DIGITS = 12
HEADER = ("stage", "came in", "went out", "time", "artifact")
# What is unsupported was not asked for (a run with train.sum=fast promises no audit); the table says so.
GOOD = ("PASS", "UNSUPPORTED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stage that is done; `seconds` is None if its artifact was found."""

    stage: str
    artifact: Artifact
    seconds: float | None


def closing(rows: Sequence[Row], *, survived: Survived | None) -> str:
    """All that a run says at its end, for people."""
    artifacts = {row.stage: row.artifact for row in rows}
    bundle, verdicts = artifacts["bundle"], artifacts["verify"].facts["verdicts"]
    results = [
        ("bundle", str(bundle.folder / bundle.facts["bundle"])),
        ("root", bundle.facts["root"]),
        *(
            (name.replace("_", " "), bundle.facts[name])
            for name in ("trajectory_head", "full_head")
            if bundle.facts[name]
        ),
        *([("survived", str(survived))] if survived else []),
    ]
    checks = [(verdict["check"], verdict["verdict"], verdict["detail"]) for verdict in verdicts]
    parts = [
        columns([HEADER, *map(_cells, rows)]),
        columns(results),
        columns([("check", "verdict", "detail"), *checks]),
    ]
    return "\n\n".join(parts) + "\n"


def failed(verdicts: Sequence[Mapping[str, str]]) -> list[str]:
    """The checks that did not go as they should, with their verdicts."""
    return [f"{verdict['check']} {verdict['verdict']}" for verdict in verdicts if verdict["verdict"] not in GOOD]


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length as left-aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def duration(seconds: float | None) -> str:
    """`found`, `1.2 s` or `3 min 05 s`."""
    if seconds is None:
        return "found"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _cells(row: Row) -> tuple[str, ...]:
    facts = row.artifact.facts
    return row.stage, facts["came_in"], facts["went_out"], duration(row.seconds), row.artifact.digest[:DIGEST_DIGITS]
