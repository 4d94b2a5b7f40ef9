"""Which allocator serves a run changes no bit of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.allocator import find_tcmalloc, preloading
from tests.allocators import strange_allocator
from tests.conftest import run_module
from tests.train.runs import Result, Tiny, result_of

TCMALLOC = find_tcmalloc()


def train(tiny: Tiny, out: Path, environment: dict[str, str]) -> Result:
    """The tiny recipe, in a process of its own."""
    made = run_module("train", "run", *tiny.arguments(out), env=environment)
    assert made.returncode == 0, made.stderr
    assert "cannot be preloaded" not in made.stderr
    return result_of(out)


@pytest.fixture(scope="module")
def plain(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """What comes of it with the C library's."""
    return train(tiny, tmp_path_factory.mktemp("plain"), {})


def test_an_allocator_that_leaves_rubbish_gives_the_same_run(tiny: Tiny, tmp_path: Path, plain: Result) -> None:
    environment = preloading(strange_allocator(tmp_path), {})
    # The control: under it, memory that nobody has written reads as rubbish.
    fresh = [sys.executable, "-c", "import numpy; print(hex(numpy.empty(99_999, dtype='u1')[77_777]))"]
    seen = subprocess.run(fresh, env=environment, capture_output=True, text=True, check=True).stdout
    assert seen == "0x3d\n"
    assert train(tiny, tmp_path / "out", environment) == plain


@pytest.mark.skipif(not TCMALLOC, reason="tcmalloc is not installed (Debian: libtcmalloc-minimal4)")
def test_tcmalloc_gives_the_same_run(tiny: Tiny, tmp_path: Path, plain: Result) -> None:
    assert TCMALLOC
    assert train(tiny, tmp_path / "out", preloading(TCMALLOC, {})) == plain
