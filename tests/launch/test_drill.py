"""The drill: faults that are drawn are injected for real, what follows is read from journals, and hashes must agree."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from core import faultbox
from core.codetree import ROOT
from core.faults import read_fault
from launch.drill import DISK_CLASS, left_out
from launch.drills import ends, report
from launch.drills.classes import CLASSES, OF_NETWORKS, flip_bit
from launch.drills.ends import Case
from launch.drills.machines import why_not
from launch.drills.rounds import Final, Round, count_redone
from launch.drills.schedule import schedule
from launch.drills.verdict import NOTHING, SURVIVED, Told
from tests.launch.conftest import processes_with
from tests.train.runs import Tiny

DEADLINE_S = 1800.0
SHORT = ("train.steps=40", "train.save_every_steps=10", "launch.ranks_per_node=1", "launch.base_every_steps=4")
QUICK = ("rank killed", "killed at commit.rename", "node lost", "coordinator killed")


@dataclass(frozen=True)
class Drilled:
    """A drill that is over."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def folder(self) -> Path:
        """Where it worked: the last line that it wrote."""
        return Path(self.stdout.strip().splitlines()[-1])

    @property
    def report(self) -> dict[str, Any]:
        """Its report."""
        told: dict[str, Any] = json.loads((self.folder / "report.json").read_bytes())
        return told


def drill(tiny: Tiny, out: Path, *overrides: str) -> Drilled:
    """`python -m launch drill`, to its end; nobody is left."""
    command = [sys.executable, "-m", "launch", "drill", *tiny.arguments(out, *SHORT), *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert not processes_with(str(out))
    return Drilled(done.returncode, done.stdout, done.stderr)


def test_a_drill_ends_with_the_undisturbed_hash_and_can_be_repeated(tiny: Tiny, tmp_path: Path) -> None:
    classes = ",".join(f'"{name}"' for name in QUICK)
    asked = [f"launch.drill.classes=[{classes}]", "launch.drill.faults=4", "launch.drill.every_s=0.1"]
    asked += ["launch.drill.has_ends=false", "launch.audit_rate=0", "launch.drill.seed=3"]
    done = drill(tiny, tmp_path, *asked)
    assert done.exit_code == 0, done.stderr
    faults = [one for made in done.report["rounds"] for one in made["faults"] if one["verdict"] != NOTHING]
    assert len(faults) >= 4 and {one["verdict"] for one in faults} == {SURVIVED}
    assert {one["name"] for one in faults} <= set(QUICK)
    assert all(one["found_s"] >= 0 and one["time"] for one in faults)
    assert all(made["final"]["digest"] == done.report["undisturbed"] for made in done.report["rounds"])
    assert "4 injected, 4 survived" in done.stdout
    again = drill(tiny, tmp_path, *asked)
    assert (again.exit_code, again.report["rounds"]) == (0, done.report["rounds"])


def test_a_run_that_ends_otherwise_makes_the_drill_fail(tiny: Tiny, tmp_path: Path) -> None:
    lie = 'launch.faults=["flip@node=n0,share=0.2"]'
    asked = ['launch.drill.classes=["store host killed"]', "launch.drill.faults=1", "launch.drill.every_s=0.1"]
    asked += ["launch.drill.has_ends=false", "launch.audit_rate=0", "launch.nodes=1", "launch.spares=0"]
    done = drill(tiny, tmp_path, *asked, lie)
    assert done.exit_code == 65
    assert "round 1: its digest is" in done.stdout and "that of the undisturbed run" in done.stdout
    assert "1 of 1" not in done.stderr.splitlines()[-1]


# Slow: every class of faults, and the runs that must end; two minutes.
@pytest.mark.slow
def test_a_drill_of_all_classes_is_survived(tiny: Tiny, tmp_path: Path) -> None:
    asked = ["train.steps=200", "launch.drill.faults=36", "launch.drill.every_s=0.3", "launch.drill.seed=5"]
    done = drill(tiny, tmp_path, *asked)
    assert done.exit_code == 0, f"{done.stderr}\n{done.stdout}"
    assert [one["why"] for one in done.report["ends"]] == [""] * len(ends.CASES)


def test_a_class_that_is_not_known_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    done = drill(tiny, tmp_path, 'launch.drill.classes=["earthquake"]')
    assert done.exit_code == 64
    assert "launch.drill.classes has 'earthquake', which is none of rank killed, store host killed" in done.stderr


def test_what_cannot_be_injected_here_is_left_out_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    found = left_out(list(CLASSES), has_mounts=False)
    assert set(found) == {DISK_CLASS, *OF_NETWORKS}
    assert found["network cut"].startswith("ip is not installed")
    assert left_out(["rank killed", DISK_CLASS], has_mounts=True) == {}


# Slow: machines with a network between them, and waiting for what nobody says; a minute.
@pytest.mark.slow
@pytest.mark.skipif(bool(why_not()), reason=why_not() or "there are networks")
def test_cut_and_shaky_networks_are_survived(tiny: Tiny, tmp_path: Path) -> None:
    classes = ",".join(f'"{name}"' for name in OF_NETWORKS)
    asked = [f"launch.drill.classes=[{classes}]", "train.steps=150", f"launch.drill.faults={len(OF_NETWORKS)}"]
    done = drill(tiny, tmp_path, *asked, "launch.drill.has_ends=false", "launch.drill.every_s=0.1")
    assert done.exit_code == 0, f"{done.stderr}\n{done.stdout}"
    faults = [one for made in done.report["rounds"] for one in made["faults"] if one["verdict"] != NOTHING]
    assert len(faults) >= len(OF_NETWORKS) and {one["verdict"] for one in faults} == {SURVIVED}


def test_the_schedule_is_a_function_of_the_seed_and_can_be_taken_up_anywhere() -> None:
    names = list(CLASSES)
    whole = list(islice(schedule(names, seed=1, every_s=2.0, hasty_share=0.1), 3 * len(names)))
    assert list(islice(schedule(names, seed=1, every_s=2.0, hasty_share=0.1, after=40), 10)) == whole[40:50]
    assert [plan.name for plan in whole] != [plan.name for plan in islice(schedule_of(2), len(whole))]
    for first in range(0, len(whole), len(names)):
        assert sorted(plan.name for plan in whole[first : first + len(names)]) == sorted(names)
    assert 1.0 < sum(plan.pause_s for plan in whole) / len(whole) < 3.0
    assert 0 < sum(plan.is_hasty for plan in whole) < len(whole) / 3


def schedule_of(seed: int) -> Any:
    """The schedule of another seed."""
    return schedule(list(CLASSES), seed=seed, every_s=2.0, hasty_share=0.1)


def test_a_fault_in_the_box_strikes_one_and_once_but_a_lie_lasts(tmp_path: Path) -> None:
    faultbox.arm(tmp_path, 1, "crash@rank=0")
    faultbox.arm(tmp_path, 2, "flip@node=n0")
    laid = dict(faultbox.armed(tmp_path))
    assert faultbox.struck(tmp_path, 1) is None
    assert faultbox.take(tmp_path, 1, laid[1], rank="0")
    assert not faultbox.take(tmp_path, 1, laid[1], rank="1")
    assert all(faultbox.take(tmp_path, 2, laid[2], rank=rank) for rank in "01")
    assert [(faultbox.struck(tmp_path, number) or {})["rank"] for number in (1, 2)] == ["0", "0"]
    assert [number for number, _ in faultbox.armed(tmp_path)] == [2]
    faultbox.disarm(tmp_path, 2)
    assert list(faultbox.armed(tmp_path)) == []


def test_every_fault_that_is_laid_can_be_read() -> None:
    for text in [case.fault for case in ends.CASES.values() if case.fault]:
        assert read_fault(text).step == 3


@pytest.mark.parametrize(
    ("code", "reason", "evidence", "why"),
    [
        (65, "ValueError: x", "ValueError: x", ""),
        (75, "ValueError: x", "ValueError: x", "it ended with 75, not 65"),
        (65, "something else", "ValueError: x", "its reason says nothing of 'ValueError'"),
        (65, "ValueError: x", "", "its evidence says nothing of 'ValueError'"),
    ],
)
def test_a_run_that_ends_for_another_reason_does_not_pass(
    tmp_path: Path, code: int, reason: str, evidence: str, why: str
) -> None:
    (tmp_path / "journal.jsonl").write_text(json.dumps({"event": "ended", "message": reason}) + "\n")
    (tmp_path / "evidence" / "0001").mkdir(parents=True)
    (tmp_path / "evidence" / "0001" / "failure.json").write_text(evidence)
    assert ends.judge("x", Case("raise@rank=1", 65, "ValueError"), code, tmp_path).why == why


def test_steps_computed_again_are_counted_for_the_fault_before_them() -> None:
    faults = [Told(number=n, name="x", verdict=SURVIVED, time=time) for n, time in ((1, 10.0), (2, 20.0))]
    # The first sets the run back by two steps, one of which is computed again only behind the second, which costs none.
    times = [(1, 8, 0.1), (2, 9, 0.1), (3, 9, 0.1), (2, 12, 0.1), (2, 21, 0.0), (3, 22, 0.1), (4, 23, 0.1)]
    count_redone(faults, [{"step": step, "time": time, "compute_seconds": spent} for step, time, spent in times])
    assert [one.redone_steps for one in faults] == [2, 0]


def _round(**values: Any) -> Round:
    final = Final(digest="d" * 64, hashes={})
    told = [Told(number=1, name="rank killed", verdict=SURVIVED, time=1.0, found_s=0.1, recovered_s=0.5)]
    plain = {"number": 1, "drawn": 1, "faults": told, "final": final, "why": "", "steps": 9, "starts": 2}
    return Round(**{**plain, "seconds": {"step": 3.0, "detect": 1.0}, **values})


def _report(made: Round) -> report.Report:
    return report.Report(
        seed=1, commit="c", load=(1.0, 2.0), seconds=9.0, undisturbed="d" * 64, rounds=[made], ends=[], left_out={}
    )


def test_the_report_says_what_is_wrong_and_a_round_is_read_as_written(tmp_path: Path) -> None:
    good = _report(_round())
    assert (good.wrong, good.goodput) == ([], 0.75)
    assert "rank killed  1         1         0.10 s, 0.10 s" in report.as_table(good)
    missed = replace(_round().faults[0], verdict="not found", found_s=-1.0)
    assert _report(_round(faults=[missed])).wrong == ["fault 1, rank killed: not found"]
    assert _report(_round(why="its digest is x")).wrong == ["round 1: its digest is x"]
    nothing = replace(missed, verdict=NOTHING)
    assert _report(_round(faults=[nothing])).faults == []
    _round().write(tmp_path)
    assert Round.read(tmp_path / "round.json") == _round()


def test_one_bit_of_a_file_is_turned(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(8))
    flip_bit(path, at=19)
    assert path.read_bytes() == bytes((0, 0, 8, 0, 0, 0, 0, 0))
