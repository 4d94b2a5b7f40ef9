"""The Model Openness Framework's class and percentages, by the rules of its own tool.

Source: lfai/model_openness_tool, ModelEvaluator (rules restated, no code taken). A class counts only if those below it
are complete. A research paper stands in for a missing technical report.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from release.openness.components import FRAMEWORK
from release.openness.licences import is_open, suits

REPORT, PAPER = "Technical report", "Research paper"
LABELS = {0: "unclassified", 3: "Class III (Open Model)", 2: "Class II (Open Tooling)", 1: "Class I (Open Science)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """Class 1 to 3, or 0; percent of each class; and why it is not more."""

    framework_class: int
    percent: Mapping[int, float]
    missing: Mapping[int, list[str]]
    not_open: list[str] = field(default_factory=list)
    not_suited: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The class in words."""
        return LABELS[self.framework_class]


def grade(licences: Mapping[str, str]) -> Grade:
    """Grade a release from the licence, or an empty text, of each part that it has, by the framework's names."""
    held = {name: licence for name, licence in licences.items() if name in FRAMEWORK}
    included = {name for name, licence in held.items() if is_open(licence)}
    counts = {level: _required(level) for level in (3, 2, 1)}
    stands_in = REPORT not in included and PAPER in included
    percent: dict[int, float] = {}
    for level in (3, 2, 1):
        wanted = set().union(*(counts[other] for other in range(level, 4)))
        got = len(wanted & included) + (1 if stands_in and level > 1 else 0)
        total = len(wanted) - (1 if stands_in and level == 1 else 0)
        is_below_full = level == 3 or percent[level + 1] == 100
        percent[level] = min(100.0, 100 * got / total) if is_below_full else 0.0
    return Grade(
        framework_class=min((level for level, value in percent.items() if value == 100), default=0),
        percent=percent,
        missing={
            level: sorted(name for name in counts[level] - included if not (stands_in and name == REPORT))
            for level in (3, 2, 1)
        },
        not_open=sorted(f"{name}: {licence or 'no licence'}" for name, licence in held.items() if name not in included),
        not_suited=sorted(
            f"{name}: {held[name]}" for name in included if not suits(held[name], FRAMEWORK[name].content)
        ),
    )


def _required(level: int) -> set[str]:
    return {name for name, part in FRAMEWORK.items() if part.framework_class == level and part.is_required}
