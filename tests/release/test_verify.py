import shutil
from pathlib import Path

import pytest

from core.errors import DataError
from release.contents import Bundle
from release.verdict import Finding, InconclusiveError, Verdict, conclude
from release.verify import CHECKS
from tests.conftest import run_module
from tests.release.conftest import run_in
from tests.release.forgery import flip_bit


def findings(*verdicts: Verdict) -> list[Finding]:
    return [Finding(check=verdict.value.lower(), verdict=verdict, detail="") for verdict in verdicts]


def test_a_copied_bundle_is_verified_by_its_own_code_where_the_checkout_has_other(
    checkout: Path, bundle: Bundle, tmp_path: Path
) -> None:
    code = Path(shutil.copytree(checkout, tmp_path / "other"))
    with (code / "train/replay.py").open("a") as stream:
        stream.write("raise SystemExit('the code of the checkout was run')\n")
    done = run_in(code, "release", "verify", bundle.folder, "--root", bundle.root, "--nonce", "a beacon")
    assert done.returncode == 0, done.stdout + done.stderr
    unsigned = [check for check in CHECKS if check.name not in ("signature", "derived")]
    lines = done.stdout.splitlines()[: len(unsigned)]
    assert [line.split()[:2] for line in lines] == [[check.name, "PASS"] for check in unsigned]
    assert all("; cannot catch: " in line for line in done.stdout.splitlines())
    assert "replayed on 1 process" in lines[-1]
    assert "2 ranks trained" in lines[-1]


def test_a_damaged_bundle_ends_with_66_and_nothing_of_it_is_run(bundle: Bundle) -> None:
    flip_bit(bundle.folder / "checkpoints/step-000004/model.safetensors")
    done = run_module("release", "verify", bundle.folder)
    assert done.returncode == 66
    verdicts = dict(line.split()[:2] for line in done.stdout.splitlines())
    assert (verdicts["integrity"], verdicts["checkpoints"]) == ("FAIL", "FAIL")
    assert (verdicts["data"], verdicts["audit"]) == ("INCONCLUSIVE", "INCONCLUSIVE")
    assert "FAIL in integrity, chain, checkpoints; do not rely on it" in done.stderr


def test_another_root_than_expected_fails(bundle: Bundle) -> None:
    done = run_module("release", "verify", bundle.folder, "--root", "0" * 64)
    assert done.returncode == 66
    assert done.stdout.startswith("integrity    FAIL         the root is ")


def test_what_is_no_bundle_and_strange_arguments_are_the_users_mistake(runs: Path, bundle: Bundle) -> None:
    assert "is no bundle" in (done := run_module("release", "verify", runs)).stderr
    assert done.returncode == 64
    assert "usage: python -m release verify BUNDLE" in (done := run_module("release", "verify", "--fast")).stderr
    assert done.returncode == 64
    assert run_module("release", "verify", bundle.folder, "--segments", "0").returncode == 64


def test_a_fail_outweighs_an_open_question_which_outweighs_a_pass() -> None:
    conclude(findings(Verdict.PASS, Verdict.PASS), subject="x")
    with pytest.raises(DataError, match="FAIL in fail"):
        conclude(findings(Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL), subject="x")
    for verdict in (Verdict.INCONCLUSIVE, Verdict.UNSUPPORTED):
        with pytest.raises(InconclusiveError) as error:
            conclude(findings(Verdict.PASS, verdict), subject="x")
        assert error.value.exit_code == 69
