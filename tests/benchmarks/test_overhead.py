"""The pairs of steps are taken for real, and tables made of them."""

from pathlib import Path

import pytest

from benchmarks.inside import PARTS
from benchmarks.overhead import CHECKPOINTS, Bench, row_of_sums, rows_of_loop
from tests.benchmarks.test_train import SMALL


def test_the_first_step_counts_for_nothing() -> None:
    found = {
        "canonical": {"wall": [9.0, 3.0, 3.0], "cpu": [1.0] * 3},
        "fast": {"wall": [1.0, 2.0, 2.0], "cpu": [1.0] * 3},
    }
    assert row_of_sums(2, found) == "| canonical sum over the fast path, 2 ranks | 1.05 | 1.500 | 1.000 |\n"


@pytest.mark.slow  # starts three processes for figures that are nobody's result
def test_both_measurements_run_on_real_ranks(tmp_path: Path) -> None:
    steps = 2 * CHECKPOINTS
    (tmp_path / "kept").mkdir()
    bench = Bench(
        tmp_path, SMALL, dtype="fp32", steps=steps, changes=["profile.is_compiled=false"], kept=tmp_path / "kept"
    )
    sums = bench.measure("sums", ranks=2)
    assert {len(own["wall"]) for own in sums.values()} == {steps} and sums.keys() == {"canonical", "fast"}
    assert bench.measure("sums", ranks=2) == sums and len(bench.loads) == 2
    found = bench.measure("loop", ranks=1)
    assert len(found["trainer"]) == len(found["bare"]) == steps - 1
    assert {part for one in found["parts"] for part in one} == PARTS.keys()
    assert rows_of_loop(found).count("\n") == 6
