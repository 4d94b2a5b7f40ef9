"""The tiny recipe gives the golden hashes on this machine too; a hash that differs is named."""

from pathlib import Path

import pytest

from core.codetree import ROOT
from core.config import resolve
from core.errors import DeterministicError
from release.golden import check, golden_hashes, read_golden

TINY = ROOT / "tests" / "golden" / "tiny.txt"


def test_the_tiny_run_has_the_golden_hashes(runs: Path) -> None:
    assert golden_hashes(runs) == read_golden(TINY.read_text(encoding="utf-8").splitlines())


def test_a_hash_that_differs_is_named_with_both_values() -> None:
    golden = read_golden(TINY.read_text(encoding="utf-8").splitlines())
    found = {**golden, "trajectory_head": "0" * 64}
    with pytest.raises(DeterministicError, match=f"trajectory_head is {'0' * 64}, .*{golden['trajectory_head']}"):
        check(found, golden, where=TINY)


def test_the_first_line_of_a_golden_file_is_the_command_that_wrote_it() -> None:
    for path in sorted(TINY.parent.glob("*.txt")):
        assert path.read_text(encoding="utf-8").startswith("# python -m ")


def test_the_recipe_that_goes_on_from_the_smoke_run_names_its_weights_and_tokenizer() -> None:
    golden = read_golden((TINY.parent / "smoke.txt").read_text(encoding="utf-8").splitlines())
    child = resolve("chat", [])
    assert child["train"]["start"]["weights_sha256"] == golden["weights"]
    assert child["tokenizer"]["sha256"] == golden["tokenizer"]
