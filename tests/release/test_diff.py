import shutil
import subprocess
from pathlib import Path

import pytest

from core.artifact import current
from tests.conftest import run_module
from tests.release.forgery import LEDGER, edit_ledger, flip_bit


def diff(left: Path, right: Path) -> "subprocess.CompletedProcess[str]":
    return run_module("release", "diff", left, right)


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "copied"))


def test_a_run_a_training_artifact_a_bundle_and_a_ledger_of_one_run_are_equal(runs: Path, released: Path) -> None:
    artifact = current(runs, "train").folder
    for left, right in ((runs, released), (artifact, released / LEDGER)):
        done = diff(left, right)
        assert (done.returncode, done.stdout[:36]) == (0, "equal: 12 steps, trajectory head " + done.stdout[33:36])


def test_the_first_differing_step_and_field_are_named_in_hex_and_decimal(released: Path, copy: Path) -> None:
    edit_ledger(copy, step=9, loss="0x1.8p+1")
    edit_ledger(copy, step=7, norm="0x1.0p+1", state="beef")
    done = diff(released, copy)
    assert done.returncode == 1
    assert done.stdout.startswith("first difference: step 7, field norm: 0x1.")
    assert done.stdout.endswith(" against 0x1.0p+1 (2)\n")


def test_the_first_differing_tensor_is_named(released: Path, copy: Path) -> None:
    flip_bit(copy / "checkpoints/step-000008/model.safetensors", at=-1)
    done = diff(released, copy)
    assert done.returncode == 1
    assert done.stdout.startswith("step-000008/model.safetensors: tensor ")


def test_a_run_that_is_cut_short_differs_by_a_step(released: Path, copy: Path) -> None:
    lines = (copy / LEDGER).read_bytes().splitlines(keepends=True)
    (copy / LEDGER).write_bytes(b"".join(lines[:9]))
    done = diff(copy, released)
    assert (done.returncode, done.stdout) == (1, "first difference: step 9, field step: 8 against 12\n")


def test_equal_numbers_from_other_code_are_equal_and_the_code_is_named(released: Path, copy: Path) -> None:
    edit_ledger(copy, step=0, code="f" * 64)
    done = diff(released, copy)
    assert done.returncode == 0
    assert "so the full heads differ: code " in done.stdout


def test_what_is_no_run_is_the_users_mistake(tmp_path: Path) -> None:
    done = diff(tmp_path, tmp_path)
    assert done.returncode == 64
    assert "is no runs folder, training artifact, bundle or ledger" in done.stderr
