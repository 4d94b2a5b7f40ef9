import shutil
from pathlib import Path

import pytest

from core.artifact import WITNESS, current
from release.verify import CHECKS
from tests.release.conftest import run_in
from tests.release.forgery import flip_bit


@pytest.fixture
def elsewhere(runs: Path, tmp_path: Path) -> Path:
    """The finished run in another folder."""
    return Path(shutil.copytree(runs, tmp_path / "elsewhere"))


def test_the_run_is_verified_and_the_verdicts_name_no_placement(runs: Path) -> None:
    artifact = current(runs, "verify")
    verdicts = artifact.facts["verdicts"]
    due = [check.name for check in CHECKS if check.name not in ("signature", "derived")]
    assert [verdict["check"] for verdict in verdicts] == due
    assert {verdict["verdict"] for verdict in verdicts} == {"PASS"}
    assert artifact.facts["root"] == current(runs, "bundle").facts["root"]
    assert not any("ranks trained" in verdict["detail"] for verdict in verdicts)
    assert "2 ranks trained" in (artifact.folder / WITNESS / "report.txt").read_text()


def test_a_second_judgement_is_found_and_nothing_is_replayed(checkout: Path, recipe: Path, elsewhere: Path) -> None:
    done = run_in(checkout, "release", "judge", recipe, f"run.out={elsewhere}", "launch.ranks=3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == str(current(elsewhere, "verify").folder)


def test_a_found_judgement_is_not_given_for_a_bundle_that_has_changed(
    checkout: Path, recipe: Path, elsewhere: Path
) -> None:
    flip_bit(current(elsewhere, "bundle").folder / "tiny/weights/final/model.safetensors")
    done = run_in(checkout, "release", "judge", recipe, f"run.out={elsewhere}")
    assert done.returncode == 66
    assert "weights/final/model.safetensors has SHA-256" in done.stderr


def test_a_fail_is_reported_and_not_kept(checkout: Path, recipe: Path, elsewhere: Path) -> None:
    shutil.rmtree(current(elsewhere, "verify").folder)
    (elsewhere / "verify.json").unlink()
    flip_bit(current(elsewhere, "bundle").folder / "tiny/witness/hardware.json")
    done = run_in(checkout, "release", "judge", recipe, f"run.out={elsewhere}")
    assert done.returncode == 66
    assert "integrity    FAIL" in done.stdout
    assert not list(elsewhere.glob("verify*"))
