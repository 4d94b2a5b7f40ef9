"""The stage, as a user starts it: the folder loads elsewhere and is the same bytes every time."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.artifact import list_files
from core.codetree import ROOT
from tests.checkpoints import FINAL, flip_bit
from tests.conftest import run_module


@pytest.fixture(scope="module")
def exported(recipe: Path) -> Path:
    finished = run_module("inference", "export", recipe)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("\n") == 1, "transformers is not quiet"
    return Path(finished.stdout.strip().splitlines()[-1])


def copied(recipe: Path, tmp_path: Path) -> Path:
    """The same run in another folder, without its export."""
    shutil.copytree(recipe.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("export*", ".export*"))
    copy = tmp_path / "copy" / recipe.name
    copy.write_text(recipe.read_text().replace(str(recipe.parent), str(copy.parent)))
    return copy


def test_the_folder_was_compared_and_says_so(exported: Path) -> None:
    comparison = json.loads((exported / "comparison.json").read_bytes())
    assert comparison["documents"] == 40 and comparison["logit_windows"] == 4
    witness = json.loads((exported / "witness/comparison.json").read_bytes())
    assert 0 < witness["logit_difference"] < 1e-4
    names = {path.name for path in exported.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.model", "README.md"} < names
    assert not [name for name in names if name.endswith((".py", ".bin"))]


def test_old_and_new_keys_agree(exported: Path) -> None:
    config = json.loads((exported / "config.json").read_bytes())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10000.0
    assert config["dtype"] == config["torch_dtype"] == "float32"
    assert config["vocab_size"] == 512 and config["max_position_embeddings"] == 64


def test_exporting_again_elsewhere_gives_the_same_bytes(recipe: Path, exported: Path, tmp_path: Path) -> None:
    copy = copied(recipe, tmp_path)
    finished = run_module("inference", "export", copy)
    assert finished.returncode == 0, finished.stderr
    again = Path(finished.stdout.strip())
    assert again.name == exported.name and again != exported
    assert list_files(again) == list_files(exported)


def test_damaged_weights_stop_the_stage_with_66(recipe: Path, tmp_path: Path) -> None:
    copy = copied(recipe, tmp_path)
    (train,) = copy.parent.glob("runs/train-*")
    flip_bit(train / FINAL / "model.safetensors")
    finished = run_module("inference", "export", copy)
    assert finished.returncode == 66 and "the weights are damaged" in finished.stderr
    assert "Traceback" not in finished.stderr and not list(copy.parent.glob("runs/export-*"))


def test_checking_a_recipe_needs_no_torch(recipe: Path) -> None:
    code = f"import sys; from inference.check import main; main([{str(recipe)!r}]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    refused = run_module("inference", "check", recipe, "export.window_tokens=0")
    assert refused.returncode == 64 and "export.window_tokens is 0" in refused.stderr
    refused = run_module("inference", "check", recipe, "model.logit_softcap=30")
    assert refused.returncode == 64 and "no such model of Llama's shape" in refused.stderr
