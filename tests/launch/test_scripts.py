"""The rendered scripts for machines without a scheduler, run for real: a rank is killed, and nobody looks after it.

Slow: half a minute each, since torch is imported by four to eight processes and the run is made twice.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from launch.render import render
from tests.conftest import run_module
from tests.launch.conftest import processes_with, wait_until
from tests.train.deepspeed_runs import needs_deepspeed
from tests.train.runs import Tiny, beats_of, result_of

pytestmark = pytest.mark.slow
DEADLINE_S = 300.0
STEPS = "train.steps=32"


def script(tiny: Tiny, out: Path, *overrides: str) -> Path:
    """The script of a recipe for nodes that all are this machine."""
    here = [f"launch.cluster.python={sys.executable}", "launch.cluster.environment={OMP_NUM_THREADS: '1'}"]
    recipe, *rest = tiny.arguments(out, STEPS, *here, *overrides)
    path = out.with_suffix(".sh")
    path.write_text(render(recipe, rest)[1])
    return path


def run(commands: list[list[str]], out: Path) -> list[str]:
    """Start the scripts, kill rank 1 once it has finished step 6, and wait; returns what they said."""
    nodes = [
        subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for command in commands
    ]
    wait_until(lambda: any(beat["step"] >= 6 for beat in beats_of(out, 1)), "step 6 is done", deadline_s=DEADLINE_S)
    os.kill(beats_of(out, 1)[0]["pid"], signal.SIGKILL)
    said: list[str] = [node.communicate(timeout=DEADLINE_S)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0] * len(nodes), said
    assert processes_with(str(out)) == []
    return said


def check_result(tiny: Tiny, out: Path) -> None:
    """The same bits as a run of one process, and an account that knows of the loss."""
    whole = out.with_name("whole")
    made = run_module("train", "run", *tiny.arguments(whole, STEPS))
    assert made.returncode == 0, made.stderr
    assert result_of(out) == result_of(whole)
    told = run_module("launch", "goodput", *tiny.arguments(out)[:-1], "--json")
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert (facts["starts"], facts["steps"], facts["is_finished"]) == (2, 32, True)
    assert facts["redone"] >= 2 and facts["seconds"]["redo"] > 0 and facts["seconds"]["restart"] > 0
    assert sum(facts["seconds"].values()) == pytest.approx(facts["total"])


def test_two_nodes_under_torchrun_s_agent(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hosts = ["launch.nodes=2", "launch.cluster.hosts=[127.0.0.1,127.0.0.1]", "launch.cluster.port=29653"]
    path = script(tiny, out, "launch.target=torchrun", "train.placement=hsdp", *hosts)
    said = run([["bash", str(path), "0"], ["bash", str(path), "1"]], out)
    assert "error: node 1 of 2: rank 1 died without a word" in said[1]
    check_result(tiny, out)


@needs_deepspeed
def test_deepspeed_s_launcher_with_a_hostfile(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "out"
    hosts = ["launch.cluster.hosts=[localhost]", "launch.ranks_per_node=2", "launch.cluster.port=29657"]
    path = script(tiny, out, "launch.target=deepspeed", "train.placement=deepspeed2", *hosts)
    (said,) = run([["bash", str(path)]], out)
    assert " finished " in said.splitlines()[-1]
    check_result(tiny, out)
