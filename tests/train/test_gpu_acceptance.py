"""The script that accepts or refuses a profile: what it decides, and, on a CPU, that it runs."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from benchmarks.gpu_acceptance import (
    Bench,
    Cell,
    Result,
    Row,
    cells_of,
    end,
    is_accepted,
    judge_grid,
    main,
    placements_of,
    speed,
)
from core.codetree import ROOT
from core.errors import ConfigError
from launch.drills.scene import descendants
from tests.train.runs import Tiny
from train.config import Placement
from train.needs import DEEPSPEED as DEEPSPEED_VERSION
from train.recipe import read_recipe

GOOD = Result(trajectory_head="a" * 64, weights="b" * 64, artifact="c" * 64, tokens_per_s=1000.0)
PASSED = [Row(check, "PASS", "") for check in ("doctor", "grid", "kill", "again")]


def test_one_cell_with_another_head_or_weights_or_none_fails_the_grid() -> None:
    cells = [Cell(1, "zero1"), Cell(2, "zero1"), Cell(2, "fsdp2")]
    assert judge_grid(dict.fromkeys(cells, GOOD)).verdict == "PASS"
    for bad in (replace(GOOD, trajectory_head="d" * 64), replace(GOOD, weights="d" * 64), "exit code 1"):
        row = judge_grid({**dict.fromkeys(cells, GOOD), cells[2]: bad})
        assert row.verdict == "FAIL" and "fsdp2 on 2" in row.told


def test_a_profile_is_accepted_only_if_everything_was_tried_and_passed() -> None:
    assert is_accepted([*PASSED, Row("speed", "NOTE", "")])
    for left_out in range(len(PASSED)):
        assert not is_accepted([row for index, row in enumerate(PASSED) if index != left_out])
        failed = [replace(row, verdict="FAIL") if index == left_out else row for index, row in enumerate(PASSED)]
        assert not is_accepted(failed)


def test_the_grid_has_no_more_ranks_than_a_step_has_work_for() -> None:
    cells = cells_of("4,1,16", ["zero1", "hsdp"], most=8)
    assert [str(cell) for cell in cells] == ["zero1 on 1", "hsdp on 1", "zero1 on 4", "hsdp on 4"]
    assert cells[3].overrides == ["train.placement=hsdp", "train.node_ranks=2"]
    with pytest.raises(ConfigError, match=r"give numbers from 1 to train\.micro_batches 2"):
        cells_of("3", ["zero1"], most=2)


def test_all_placements_are_tried_but_for_those_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    assert Cell(2, "fsdp2-kept").overrides == ["train.placement=fsdp2", "train.is_resharded=false"]
    host = Cell(2, "deepspeed2-host").overrides
    assert host == ["train.placement=deepspeed2", "train.is_optimizer_offloaded=true"]
    monkeypatch.setattr("train.needs.version", lambda name: DEEPSPEED_VERSION)
    every, left_out = placements_of("all")
    bases = {placement.partition("-")[0] for placement in every}
    assert not left_out and bases == {placement.value for placement in Placement}
    monkeypatch.setattr("train.needs.version", absent)
    some, left_out = placements_of("all")
    assert set(every) - set(some) == {one for one in every if one.startswith("deepspeed")}
    assert "deepspeed3-host: placement deepspeed1, 2 and 3 need" in left_out and "no deepspeed is installed" in left_out
    with pytest.raises(ConfigError, match="--placements has 'fsdp9'; there are replicated, "):
        placements_of("fsdp9")


def test_a_run_that_is_not_done_in_time_is_ended_with_every_process_and_fails(tiny: Tiny, tmp_path: Path) -> None:
    recipe, *rest = tiny.arguments(tmp_path / "unused")
    bench = Bench(recipe=recipe, overrides=rest, config=read_recipe(recipe, rest), out=tmp_path, deadline_s=600.0)
    cell = Cell(2, "zero1")
    process = bench.start("first", cell)
    while process.poll() is None and len(descendants(process.pid)) < 2:
        time.sleep(0.01)
    below = descendants(process.pid)
    assert len(below) >= 2
    end(process)
    assert process.returncode == -signal.SIGKILL
    # Killed, and nobody's children any more.
    pids = [pid for pid in below if is_running(pid)]
    while pids:
        pids = [pid for pid in pids if is_running(pid)]
        time.sleep(0.01)
    told = replace(bench, deadline_s=0.0).run("second", cell)
    assert isinstance(told, str) and told.startswith("not done in 0 s, ended (see ")
    row = judge_grid({cell: told})
    assert (row.verdict, row.told) == ("FAIL", f"zero1 on 2: {told}")
    killed = replace(bench, deadline_s=0.0).kill("third", cell)
    assert killed.startswith("it was not half-way, within 0 s")


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_utilization_is_of_all_ranks_peaks() -> None:
    assert speed(Cell(2, "zero1"), GOOD, 6_000, 12e6).told == "1,000 tokens/s, MFU 25.0%"


def test_a_recipe_of_another_device_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"profile\.device is cpu, --device cuda; make them the same"):
        main([str(tiny.recipe)])


# Slow: it starts thirty processes that import torch.
@pytest.mark.slow
def test_on_a_cpu_it_accepts_a_profile_that_keeps_its_bits_and_refuses_one_that_does_not(
    tiny: Tiny, tmp_path: Path
) -> None:
    def accept(*overrides: str) -> tuple[int, str, str]:
        recipe, *rest = tiny.arguments(tmp_path / "unused", "train.steps=24", *overrides)
        command = [sys.executable, "-m", "benchmarks.gpu_acceptance", recipe, "--device", "cpu", "--ranks", "1,2"]
        options = [
            "--placements",
            "zero1,fsdp2-kept,hsdp",
            "--out",
            str(tmp_path),
            "--json",
            str(tmp_path / "told.json"),
        ]
        made = subprocess.run(
            [*command, *options, *rest], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False
        )
        return made.returncode, made.stdout, made.stderr

    code, out, err = accept()
    assert (code, err) == (0, ""), out
    assert out.splitlines()[-1] == "ACCEPT  profile portable"
    told = json.loads((tmp_path / "told.json").read_bytes())
    assert [row["verdict"] for row in told["rows"]] == ["PASS"] * 4 + ["NOTE"] * 6
    assert len({cell["trajectory_head"] for cell in told["cells"]}) == 1
    # A sum whose order follows the ranks must not pass.
    code, out, err = accept("train.sum=fast")
    assert code == 65 and "profile portable is refused on this machine" in err
    assert "FAIL  grid" in out and out.splitlines()[-1] == "REFUSE  profile portable"
