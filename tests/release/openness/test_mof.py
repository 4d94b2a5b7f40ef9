"""The rules of the Model Openness Framework's own tool.

The cases are facts of its expected_results.json (lfai/model_openness_tool 8b5d30e); all 27 of it agreed with `grade`
when the table was made, and so did the counts over its catalogue: 242 unclassified, 16 of class III, 1 of II, 14 of I.
"""

import pytest

from release.openness.components import FRAMEWORK
from release.openness.mof import grade

CLASS_3 = ("Model architecture", "Model parameters (Final)", "Evaluation results", "Model card", "Data card")
CLASS_2 = ("Training code", "Inference code", "Evaluation code", "Evaluation data")
CLASS_1 = ("Datasets", "Data preprocessing code", "Model parameters (Intermediate)", "Research paper")
REPORT, PAPER = "Technical report", "Research paper"


def licensed(*names: str, licence: str = "MIT") -> dict[str, str]:
    return dict.fromkeys(names, licence)


def test_the_framework_has_17_parts_of_which_14_are_required() -> None:
    assert len(FRAMEWORK) == 17
    assert sum(part.is_required for part in FRAMEWORK.values()) == 14


@pytest.mark.parametrize(
    ("parts", "framework_class", "percent"),
    [
        (licensed(*FRAMEWORK), 1, {3: 100, 2: 100, 1: 100}),
        (licensed(*CLASS_3, REPORT), 3, {3: 100, 2: 60, 1: 0}),
        (licensed(*CLASS_3, REPORT, *CLASS_2), 2, {3: 100, 2: 100, 1: 10 / 14 * 100}),
        (licensed(*CLASS_3, REPORT, *CLASS_2, PAPER), 2, {3: 100, 2: 100, 1: 11 / 14 * 100}),
        (licensed(*CLASS_3, *CLASS_2, *CLASS_1), 1, {3: 100, 2: 100, 1: 100}),
        (licensed(*CLASS_3, PAPER), 3, {3: 100, 2: 60, 1: 0}),
        (licensed("Datasets", "Data card", PAPER, licence="CC-BY-SA-4.0"), 0, {3: 100 / 3, 2: 0, 1: 0}),
        (licensed(*CLASS_2, *CLASS_1), 0, {3: 100 / 6, 2: 0, 1: 0}),
        ({}, 0, {3: 0, 2: 0, 1: 0}),
        (licensed(*FRAMEWORK, licence=""), 0, {3: 0, 2: 0, 1: 0}),
        (licensed(*FRAMEWORK, licence="CC-BY-NC-4.0"), 0, {3: 0, 2: 0, 1: 0}),
    ],
)
def test_classes_build_on_each_other(parts: dict[str, str], framework_class: int, percent: dict[int, float]) -> None:
    found = grade(parts)
    assert found.framework_class == framework_class
    assert dict(found.percent) == pytest.approx(percent)


def test_a_paper_stands_in_for_a_missing_report_and_not_if_it_is_not_open() -> None:
    assert grade(licensed(*CLASS_3, PAPER)).framework_class == 3
    assert grade(licensed(*CLASS_3) | licensed(PAPER, licence="CC-BY-NC-4.0")).framework_class == 0


def test_an_open_licence_of_another_kind_counts_and_is_told() -> None:
    found = grade(licensed(*FRAMEWORK, licence="Apache-2.0"))
    assert found.framework_class == 1
    assert "Datasets: Apache-2.0" in found.not_suited
    assert "Training code: Apache-2.0" not in found.not_suited


def test_what_the_framework_does_not_count_changes_nothing() -> None:
    assert grade(licensed("Tokenizer", "Cost and energy")).percent == grade({}).percent
