"""What a run says at its end."""

from pathlib import Path
from typing import Any

import pytest

from core.artifact import Artifact, build, plan
from core.errors import DeterministicError
from launch.pipeline import conclude
from launch.strike import Survived
from launch.table import Row, closing, duration

HEADS = {"bundle": "tiny", "root": "r" * 64, "trajectory_head": "t" * 64, "full_head": "f" * 64}
PASSED = {"check": "integrity", "verdict": "PASS", "detail": "57 files"}


def rows(out: Path, *, verdicts: list[dict[str, str]]) -> list[Row]:
    def made(stage: str, facts: dict[str, Any]) -> Artifact:
        wanted = plan(stage, folder="core", out=out, config={}, inputs={})
        return build(wanted, lambda _: {"came_in": f"in of {stage}", "went_out": f"out of {stage}", **facts})

    facts: dict[str, dict[str, Any]] = {"train": {}, "bundle": HEADS, "verify": {"verdicts": verdicts}}
    seconds = {"train": 185.4, "bundle": 1.25, "verify": None}
    return [Row(stage=stage, artifact=made(stage, facts[stage]), seconds=seconds[stage]) for stage in facts]


def test_the_closing_words_hold_stages_bundle_heads_and_verdicts(tmp_path: Path) -> None:
    made = rows(tmp_path, verdicts=[PASSED])
    survived = Survived(rank=1, killed_at_step=125, time=0.0, resumed_from=120, seconds=7.31)
    stages, results, verdicts = closing(made, survived=survived).split("\n\n")
    assert stages.splitlines() == [
        "stage   came in       went out       time        artifact",
        f"train   in of train   out of train   3 min 05 s  {made[0].artifact.digest[:12]}",
        f"bundle  in of bundle  out of bundle  1.2 s       {made[1].artifact.digest[:12]}",
        f"verify  in of verify  out of verify  found       {made[2].artifact.digest[:12]}",
    ]
    assert results.splitlines() == [
        f"bundle           {made[1].artifact.folder}/tiny",
        f"root             {'r' * 64}",
        f"trajectory head  {'t' * 64}",
        f"full head        {'f' * 64}",
        "survived         rank 1 killed by SIGKILL at step 125, went on from step 120, 7.3 s to the next step",
    ]
    assert verdicts.splitlines()[1] == "integrity  PASS     57 files"
    assert "survived" not in closing(made, survived=None)


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_a_verdict_that_is_not_as_it_should_be_ends_the_run_with_an_error_after_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verdict: str
) -> None:
    bad = {"check": "audit", "verdict": verdict, "detail": "step 7"}
    with pytest.raises(DeterministicError, match=f"not all of it is verified: audit {verdict}"):
        conclude(rows(tmp_path, verdicts=[PASSED, bad]))
    assert f"{verdict}" in capsys.readouterr().out
    conclude(rows(tmp_path / "good", verdicts=[PASSED]))


def test_what_a_run_never_promised_is_shown_and_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unsupported = {"check": "audit", "verdict": "UNSUPPORTED", "detail": "trained with train.sum=fast"}
    conclude(rows(tmp_path, verdicts=[PASSED, unsupported]))
    assert "UNSUPPORTED" in capsys.readouterr().out


def test_times_are_said_as_people_do() -> None:
    assert [duration(seconds) for seconds in (None, 0.04, 59.94, 60, 600)] == [
        *("found", "0.0 s", "59.9 s"),
        *("1 min 00 s", "10 min 00 s"),
    ]
