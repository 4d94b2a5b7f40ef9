"""The script that accepts or refuses a profile: what it decides, and, on a CPU, that it runs."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu_acceptance import Cell, Result, Row, cells_of, is_accepted, judge_grid, main, speed
from core.codetree import ROOT
from core.errors import ConfigError
from tests.train.runs import Tiny

GOOD = Result(trajectory_head="a" * 64, weights="b" * 64, artifact="c" * 64, tokens_per_s=1000.0)
PASSED = [Row(check, "PASS", "") for check in ("doctor", "grid", "kill", "again")]


def test_one_cell_with_another_head_or_weights_or_none_fails_the_grid() -> None:
    cells = [Cell(1, "zero1"), Cell(2, "zero1"), Cell(2, "fsdp2")]
    assert judge_grid(dict.fromkeys(cells, GOOD)).verdict == "PASS"
    for bad in (replace(GOOD, trajectory_head="d" * 64), replace(GOOD, weights="d" * 64), None):
        row = judge_grid({**dict.fromkeys(cells, GOOD), cells[2]: bad})
        assert row.verdict == "FAIL" and "fsdp2 on 2" in row.told


def test_a_profile_is_accepted_only_if_everything_was_tried_and_passed() -> None:
    assert is_accepted([*PASSED, Row("speed", "NOTE", "")])
    for left_out in range(len(PASSED)):
        assert not is_accepted([row for index, row in enumerate(PASSED) if index != left_out])
        failed = [replace(row, verdict="FAIL") if index == left_out else row for index, row in enumerate(PASSED)]
        assert not is_accepted(failed)


def test_the_grid_has_no_more_ranks_than_a_step_has_work_for() -> None:
    cells = cells_of({"--ranks": "4,1,16", "--placements": "zero1,hsdp"}, most=8)
    assert [str(cell) for cell in cells] == ["zero1 on 1", "hsdp on 1", "zero1 on 4", "hsdp on 4"]
    assert cells[3].overrides == ["train.placement=hsdp", "train.node_ranks=2"]
    with pytest.raises(ConfigError, match=r"give numbers from 1 to train\.micro_batches 2"):
        cells_of({"--ranks": "3", "--placements": "zero1"}, most=2)


def test_utilization_is_of_all_ranks_peaks() -> None:
    assert speed(Cell(2, "zero1"), GOOD, 6_000, 12e6).told == "1,000 tokens/s, MFU 25.0%"


def test_a_recipe_of_another_device_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"profile\.device is cpu, --device cuda; make them the same"):
        main([str(tiny.recipe)])


# Slow: it starts eleven processes that import torch.
@pytest.mark.slow
def test_on_a_cpu_it_accepts_a_profile_that_keeps_its_bits_and_refuses_one_that_does_not(
    tiny: Tiny, tmp_path: Path
) -> None:
    def accept(*overrides: str) -> tuple[int, str, str]:
        recipe, *rest = tiny.arguments(tmp_path / "unused", "train.steps=24", *overrides)
        command = [sys.executable, "-m", "benchmarks.gpu_acceptance", recipe, "--device", "cpu", "--ranks", "1,2"]
        options = ["--placements", "zero1", "--out", str(tmp_path), "--json", str(tmp_path / "told.json")]
        made = subprocess.run(
            [*command, *options, *rest], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False
        )
        return made.returncode, made.stdout, made.stderr

    code, out, err = accept()
    assert (code, err) == (0, ""), out
    assert out.splitlines()[-1] == "ACCEPT  profile portable"
    told = json.loads((tmp_path / "told.json").read_bytes())
    assert [row["verdict"] for row in told["rows"]] == ["PASS"] * 4 + ["NOTE"] * 2
    assert len({cell["trajectory_head"] for cell in told["cells"]}) == 1
    # A sum whose order follows the ranks must not pass.
    code, out, err = accept("train.sum=fast")
    assert code == 65 and "profile portable is refused on this machine" in err
    assert "FAIL  grid" in out and out.splitlines()[-1] == "REFUSE  profile portable"
