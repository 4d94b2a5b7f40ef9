"""One real run of the whole pipeline for the session; tests that change a bundle work on their own copy."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.artifact import current
from core.codetree import ROOT
from release.code import read_checkout
from release.contents import Bundle, open_bundle
from tests.conftest import write_recipe


def copy_code(folder: Path) -> Path:
    """The checkout's code as a repository of its own, without its history: nobody edits it while tests run."""
    for name, file in read_checkout(ROOT).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(int(file.mode[-3:], 8))
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


def run_in(checkout: Path, *arguments: object, timeout_s: float = 900) -> "subprocess.CompletedProcess[str]":
    """`python -m ARGUMENTS` in a folder of code; output is captured as text."""
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code from which the session's run is made."""
    return copy_code(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe of this folder's run, whose training must not be found finished: it is to be interrupted."""
    return write_recipe(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="session")
def runs(checkout: Path, recipe: Path) -> Path:
    """The folder of a finished run: 12 steps on 2 ranks, one killed in step 6; checkpoints at steps 4, 8 and 12."""
    drill = ["launch.kill_rank=1", "launch.kill_at_step=6"]
    done = run_in(checkout, "launch", "run", recipe, *drill, timeout_s=900)
    assert done.returncode == 0, done.stderr
    return recipe.parent / "runs"


@pytest.fixture(scope="session")
def released(runs: Path) -> Path:
    """The run's bundle. Read only."""
    artifact = current(runs, "bundle")
    return artifact.folder / str(artifact.facts["bundle"])


@pytest.fixture
def bundle(released: Path, tmp_path: Path) -> Bundle:
    """A copy of the bundle that a test may change."""
    copy = open_bundle(shutil.copytree(released, tmp_path / "copied"))
    copy.scratch = tmp_path
    return copy
