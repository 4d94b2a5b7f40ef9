"""The simulator against drills: simulated ones whose costs are known, and a real one (slow)."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.codetree import ROOT
from core.errors import DataError
from launch.account import Kind
from launch.drills.rounds import Round
from launch.fitted import fit, read, simulated
from launch.simulate import Design, Life
from tests.conftest import run_module
from tests.train.runs import pack_once

KNOWN = Design(
    save_every_s=0.2,
    stall_s=0.02,
    write_s=0.0,
    detect_s=0.5,
    hang_s=0.5,
    audit_s=0.3,
    is_replicated=True,
    p_both=0.0,
    step_s=0.6,
    restart_s=1.0,
    spares=0,
    schedule_s=0.25,
)


class Counted(Life):
    """A life that counts its failures."""

    failures = 0

    def _recover(self) -> None:
        self.failures += 1
        super()._recover()


def round_of(number: int, *, mttf: float) -> Round:
    life = Counted(KNOWN, nodes=1, mttf=mttf, seed=number)
    seconds = {kind.value: spent for kind, spent in life.live(2000.0).seconds.items()}
    steps = round(seconds["step"] / KNOWN.save_every_s)
    return made(number, seconds, steps=steps, starts=life.failures + 1)


def made(number: int, seconds: dict[str, float], *, steps: int, starts: int) -> Round:
    return Round(number=number, drawn=0, faults=[], final=None, why="", seconds=seconds, steps=steps, starts=starts)


@pytest.mark.parametrize("mttf", [4.0, 15.0, 60.0])
def test_a_drill_s_means_are_found_again_and_give_its_goodput(mttf: float) -> None:
    rounds = [round_of(number, mttf=mttf) for number in (1, 2)]
    found = fit(rounds, [0.0, 0.0])
    assert found.design.detect_s == pytest.approx(0.5, rel=0.03)
    assert found.design.schedule_s == pytest.approx(0.25, rel=0.03)
    assert found.design.step_s == pytest.approx(0.6, rel=0.2)
    # A restart that fails counts as one that took longer, the more of them the shorter the time between failures.
    assert abs(found.error) < 0.04
    other = simulated(replace(found.design, restart_s=mttf), rounds, [0.0, 0.0], mttf=found.mttf)
    assert other.goodput < found.measured.goodput - 0.08


def test_what_is_no_drill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to compare"):
        fit([made(1, {"step": 5.0}, steps=10, starts=1)], [0.0])
    said = run_module("launch", "simulate", "--drill", tmp_path)
    assert said.returncode == 66 and f"there is no report.json in {tmp_path}" in said.stderr


# Slow: a drill of twelve faults.
@pytest.mark.slow
def test_the_simulator_gives_the_goodput_of_a_real_drill(shared_recipe: Path, tmp_path: Path) -> None:
    tiny = pack_once(shared_recipe)
    asked = [
        *("train.steps=300", "train.save_every_steps=20", "launch.ranks_per_node=1", "launch.drill.faults=12"),
        *("launch.drill.every_s=1", "launch.drill.has_ends=false", "launch.audit_rate=0", "launch.drill.seed=4"),
        'launch.drill.classes=["rank killed","abort","node lost","killed at commit.rename"]',
    ]
    command = [sys.executable, "-m", "launch", "drill", *tiny.arguments(tmp_path, *asked)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip().splitlines()[-1])
    found = read(folder)
    assert found.stops >= 8 and found.measured.total > 0
    # Of the drills of docs/goodput.md the worst was 6 points off.
    assert abs(found.error) < 0.1
    rounds = [Round.read(path) for path in sorted(folder.glob("round-*/round.json"))]
    dear = replace(found.design, restart_s=10 * found.measured.total / found.stops)
    wrong = simulated(dear, rounds, [0.0] * len(rounds), mttf=found.mttf)
    assert wrong.goodput < found.measured.goodput / 2
    said = run_module("launch", "simulate", "--drill", folder)
    assert said.returncode == 0 and f"{100 * found.measured.share(Kind.STEP):.1f} %" in said.stdout
