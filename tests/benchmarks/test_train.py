"""The benchmark compares the same work, takes ratios within a round, and names what it leaves out."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cells import CELLS, OURS, PLAIN, SIZES, Cell, Size
from benchmarks.runner import Runner, sections
from benchmarks.tokens import write_pack, write_windows
from benchmarks.train import report, run_all
from data.loader import Loader
from model.config import ModelConfig

SMALL = Size(name="test", dim=32, n_layers=1, n_heads=2, ffn_dim=64, vocab_size=100, seq_len=16, windows=4)


@pytest.mark.parametrize("name", SIZES)
def test_our_model_of_a_size_has_as_many_parameters_as_the_size_says(name: str) -> None:
    model = ModelConfig(**sections(PLAIN, SIZES[name], dtype="fp32", steps=2)["model"])
    assert model.parameter_count == SIZES[name].parameters


def test_every_cell_has_two_threads_and_a_name_of_its_own() -> None:
    for cells in CELLS.values():
        assert cells[0] == PLAIN
        assert all(cell.ranks * cell.threads == 2 for cell in cells)
        assert len({cell.label for cell in cells}) == len(cells)


def test_peers_see_the_windows_that_our_ranks_see_step_by_step(tmp_path: Path) -> None:
    pack = write_pack(tmp_path, SMALL, steps=3)
    write_windows(tmp_path / "windows.npy", pack, SMALL, steps=3)
    windows = np.load(tmp_path / "windows.npy")
    halves = Loader.open(pack.folder, micro_batches=2, micro_batch=2)
    for step in (1, 2, 3):
        ours = np.concatenate([halves.batch(step, index) for index in (0, 1)])
        assert sorted(map(tuple, ours)) == sorted(map(tuple, windows[step - 1]))
    assert not np.array_equal(windows[0], windows[1])


# Three trainings.
@pytest.mark.slow
def test_cells_run_for_real_and_what_is_not_installed_is_named(tmp_path: Path) -> None:
    runner = Runner(tmp_path, peers_python=sys.executable, tcmalloc=tmp_path)
    for cell in (Cell(tool="nanoGPT-style"), Cell(tool=OURS, ranks=2)):
        found = runner.run(cell, SMALL, dtype="fp32", steps=3)
        assert found.get("seconds", 0) > 0 and found["memory"] > 50e6, found
    missing = runner.run(Cell(tool="torchtitan"), SMALL, dtype="fp32", steps=3)
    assert missing == {"missing": "No module named 'torchtitan'"}


class Stopping(Runner):
    """Runs nothing, and is stopped before the call that comes after `left` others."""

    def __init__(self, left: int) -> None:
        self.left = left

    def run(self, cell: Cell, size: Size, *, dtype: str, steps: int) -> dict[str, Any]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return {"seconds": 1.0, "memory": 1.0}


def test_a_benchmark_goes_on_where_it_was_cut_short(tmp_path: Path) -> None:
    chosen = argparse.Namespace(out=tmp_path, resume=True, sizes="tiny", dtypes="bf16", rounds=2, steps=1)
    cells = CELLS["bar"][:2]
    with pytest.raises(KeyboardInterrupt):
        run_all(chosen, Stopping(3), cells)
    last = Stopping(1)
    assert len({(one["label"], one["round"]) for one in run_all(chosen, last, cells)}) == 4
    assert last.left == 0
    chosen.resume = False
    with pytest.raises(KeyboardInterrupt):
        run_all(chosen, Stopping(3), cells)


def test_a_ratio_is_taken_within_a_round() -> None:
    common = {"size": "tiny", "dtype": "fp32", "memory": 1e9, "load": 1.0}
    # The machine is ten times as slow in the second round; ours is twice as fast in every one.
    seconds = {PLAIN.label: (1.0, 10.0, 1.0), OURS: (0.5, 5.0, 0.5)}
    results = [
        {**common, "label": label, "round": number, "seconds": taken}
        for label, own in seconds.items()
        for number, taken in enumerate(own)
    ]
    results.append({**common, "label": "litgpt", "round": 0, "missing": "No module named 'litgpt'"})
    text = report(results, peaks={"fp32": 1e12})
    assert "| transformers | 4096 | 1.00 |" in text and "| **wholegrain** | 8192 | 2.00 |" in text
    assert "Left out: litgpt: No module named 'litgpt'" in text
