import subprocess
import sys
from pathlib import Path

import pytest

from core.codetree import ROOT
from core.errors import ConfigError, DataError
from core.hashing import hash_file
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
        (
            "clean.language.expected={gamma: [en]}",
            "clean.language.expected has gamma, which is no source; .* alpha, beta",
        ),
        ("clean.language.expected={alpha: [xx]}", "language.expected.alpha has xx; give one or more of"),
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


def test_evaluation_sets_are_held_against_their_hashes_before_the_first_stage(
    tiny_recipe: Path, tmp_path: Path
) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "what is asked here in more than eight words of English"}\n', encoding="utf-8")
    sha256 = hash_file(path)

    def check(*, sha256: str = sha256, fields: str = "question") -> None:
        benchmark = f"{{name: q, path: {path}, sha256: '{sha256}', fields: [{fields}]}}"
        main([str(tiny_recipe), f"clean.decontamination.benchmarks=[{benchmark}]"])

    check()
    with pytest.raises(DataError, match=rf"questions\.jsonl has SHA-256 {sha256}, the recipe says 000"):
        check(sha256="0" * 64)
    with pytest.raises(DataError, match=r"questions\.jsonl line 1 is no record with answer"):
        check(fields="answer")
    path.unlink()
    with pytest.raises(DataError, match=r"questions\.jsonl cannot be read"):
        check()
