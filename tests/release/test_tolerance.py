"""The tolerance verdict: a band that is measured by replays under several real profiles, and what lies outside it."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.codetree import ROOT
from core.errors import ConfigError, DataError
from core.ledger import Line
from release.audit import Segment
from release.contents import Bundle, open_bundle
from release.tolerance import Band, calibrate, distance, hold, replay, tolerate, variants
from release.verdict import InconclusiveError, Verdict
from tests.conftest import run_module
from tests.release.forgery import edit_json, reseal

SEGMENT = Segment(4, 8)


@pytest.fixture(scope="module")
def judged(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle, with its code known. Read only."""
    bundle = open_bundle(released)
    bundle.is_whole, bundle.code, bundle.scratch = True, ROOT, tmp_path_factory.mktemp("scratch")
    return bundle


@pytest.fixture(scope="module")
def band(judged: Bundle) -> Band:
    """The band of steps 5 to 8, from replays under every profile of this machine."""
    return calibrate(judged, SEGMENT)


@pytest.fixture
def recorded(judged: Bundle) -> Iterator[list[Line]]:
    """The bundle's lines of these steps, which a test may change."""
    yield [copy.deepcopy(judged.line(step)) for step in range(SEGMENT.start + 1, SEGMENT.end + 1)]


def test_the_band_is_measured_and_the_honest_record_lies_within(band: Band, recorded: list[Line]) -> None:
    assert len(band.profiles) >= 2
    assert 0 < band.width < 1e-4
    finding = hold(recorded, band)
    assert finding.verdict is Verdict.WITHIN
    assert "weaker than PASS" in finding.detail


def test_a_learning_rate_that_is_wrong_by_a_thousandth_lies_outside(
    judged: Bundle, band: Band, recorded: list[Line]
) -> None:
    train = judged.recipe["train"]
    cheated = replay(judged, SEGMENT, sections={"train": {**train, "lr": train["lr"] * 1.001}})
    # A liar states the rate that the configuration asks for.
    lying = [{**line, "lr": honest["lr"]} for line, honest in zip(cheated, recorded, strict=True)]
    assert hold(lying, band).verdict is Verdict.OUTSIDE
    with pytest.raises(DataError, match=r"step 5, field lr: .* under any profile"):
        hold(cheated, band)


def test_an_edited_loss_lies_outside_and_one_inside_the_band_cannot_be_seen(band: Band, recorded: list[Line]) -> None:
    honest = float.fromhex(recorded[2]["loss"])
    recorded[2]["loss"] = (honest * (1 + 100 * band.width)).hex()
    assert hold(recorded, band).verdict is Verdict.OUTSIDE
    recorded[2]["loss"] = (honest * (1 + band.width)).hex()
    assert hold(recorded, band).verdict is Verdict.WITHIN


def test_another_batch_is_a_fail_under_any_profile(band: Band, recorded: list[Line]) -> None:
    recorded[1]["batch"] = "0" * 64
    with pytest.raises(DataError, match="step 6, field batch"):
        hold(recorded, band)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_that_is_none_lies_outside(band: Band, recorded: list[Line], value: str) -> None:
    recorded[-1]["norm"] = value
    assert hold(recorded, band).verdict is Verdict.OUTSIDE


def test_profiles_that_all_agree_calibrate_nothing(judged: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    only = {"asked": judged.recipe["profile"]}
    monkeypatch.setattr("release.tolerance.variants", lambda asked: only)
    with pytest.raises(InconclusiveError, match="profiles asked ran here and gave the same numbers"):
        calibrate(judged, SEGMENT)


def test_distance_is_relative_and_the_largest() -> None:
    one = [{"loss": (2.0).hex(), "norm": (1.0).hex()}, {"loss": (2.0).hex(), "norm": (4.0).hex()}]
    other = [{"loss": (2.0).hex(), "norm": (1.0).hex()}, {"loss": (1.5).hex(), "norm": (2.0).hex()}]
    assert distance(one, other) == 0.5
    assert distance(one, one) == 0.0


def test_a_machine_that_can_judge_bit_by_bit_is_told_to(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="it can judge bit by bit; run python -m release verify"):
        list(tolerate(bundle))


def test_a_profile_of_a_gpu_is_tried_on_the_cpu_too() -> None:
    asked = {"name": "cuda", "device": "cuda", "threads": 1, "cuda": {"is_tf32_allowed": False}, "compute": "bf16"}
    tried = variants(asked)
    assert tried["asked"] == asked
    assert all("cuda" not in profile and "device" not in profile for name, profile in tried.items() if name != "asked")


@pytest.mark.slow
def test_a_bundle_from_another_machine_is_within_and_the_exit_code_is_no_pass(bundle: Bundle) -> None:
    profile = bundle.trained["profile"]
    builds = {**profile["builds"], "torch": "9.9"}
    edit_json(bundle.folder / "config/train.json", profile={**profile, "builds": builds})
    reseal(bundle.folder)
    done = run_module("release", "tolerance", bundle.folder)
    assert done.returncode == 3, done.stdout + done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["integrity", "PASS"],
        ["code", "PASS"],
        ["tolerance", "WITHIN"],
    ]
