"""The real pipeline, interrupted at several moments, ends in the same root as one that was left alone."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from core.artifact import current
from core.codetree import ROOT
from tests.conftest import run_module
from tests.launch.conftest import processes_with, wait_until

# Where the run is (a path that appears in its folder), and what happens to it there.
MOMENTS = [
    (".clean-*.part", signal.SIGKILL),
    (".train-*.part/ledger.jsonl", signal.SIGINT),
    (".train-*.part/checkpoints/step-000008", signal.SIGKILL),
    (".export-*.part", signal.SIGTERM),
    (".verify-*.part", signal.SIGKILL),
]
DEADLINE_S = 900.0
EXIT_CODES = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}


def has(out: Path, path: str) -> bool:
    return any(out.glob(path))


@pytest.mark.slow  # two whole pipelines and five beginnings: about two minutes
def test_a_run_that_is_interrupted_everywhere_ends_in_the_same_root(tiny_recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "interrupted"
    overrides = [f"run.out={out}", "train.steps=24"]
    for path, number in MOMENTS:
        process = subprocess.Popen(
            [sys.executable, "-m", "launch", "run", str(tiny_recipe), *overrides],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(partial(has, out, path), f"{path} is there", deadline_s=DEADLINE_S)
        process.send_signal(number)
        stderr = process.communicate(timeout=DEADLINE_S)[1]
        assert process.returncode == EXIT_CODES[number] and "Traceback" not in stderr, stderr
        wait_until(lambda: not processes_with(str(out)), "every process has ended")
    drill = ["launch.kill_rank=1", "launch.kill_at_step=10"]
    finished = run_module("launch", "run", tiny_recipe, *overrides)
    undisturbed = run_module("launch", "run", tiny_recipe, "train.steps=24", *drill)
    assert finished.returncode == undisturbed.returncode == 0, finished.stderr + undisturbed.stderr
    assert "survived         rank 1 killed by SIGKILL at step 1" in undisturbed.stdout
    other = tiny_recipe.parent / "runs"
    for stage in ("fetch", "clean", "tokenizer", "pack", "manifest", "train", "evaluate", "export", "bundle"):
        assert current(out, stage).digest == current(other, stage).digest, stage
    assert current(out, "bundle").facts["root"] == current(other, "bundle").facts["root"]
