import subprocess
import sys
from pathlib import Path

import pytest

from core.codetree import ROOT
from core.errors import ConfigError
from data.check import main
from tests.conftest import run_module


def test_a_sound_recipe_passes_in_silence(tiny_recipe: Path) -> None:
    finished = run_module("data", "check", tiny_recipe)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


def test_the_check_imports_no_torch(tiny_recipe: Path) -> None:
    code = f"import sys, data.check; data.check.main([{str(tiny_recipe)!r}]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sources.items.0.licence=MIT", "section sources.*licence"),
        ("data.worker=2", "section data.*worker"),
        ("data.executor=sparks", "section data.*sparks"),
        ("data.slurm.tasks_per_job=0", "data.slurm.tasks_per_job is 0"),
        ("clean.heldout_permile=10", "section clean.*heldout_permile"),
        ("tokenizer.vocab_size=many", "section tokenizer.*many"),
        ("pack.seq_length=32", "section pack.*seq_length"),
        ("pack.weights.gamma=1", "pack.weights has gamma, which is no source; the sources are alpha, beta"),
        ("pack.max_epochs.gamma=1", "pack.max_epochs has gamma, which has no weight"),
        ("pack.phases=[{name: a, weights: {beta: 1}}]", "both weights and phases"),
        ("pack.base={order: nowhere/order.json}", "pack.base.sha256 is ''; give the SHA-256"),
        ("train.micro_batches=none", "train.micro_batches is none; give an integer"),
        ("run.nam=x", "section run.*nam"),
    ],
)
def test_a_mistake_in_any_section_is_named(tiny_recipe: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main([str(tiny_recipe), override])
