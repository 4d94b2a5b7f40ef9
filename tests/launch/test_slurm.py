"""The rendered batch script on a real Slurm of four nodes on this machine, one of which dies.

Slow: some minutes, much of it waiting for Slurm to believe that a node is dead.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from core.codetree import ROOT
from core.journal import read_journal
from launch.render import render
from tests.conftest import run_module
from tests.launch.conftest import wait_until
from tests.slurm_cluster import kill_node, slurm_cluster, why_not
from tests.train.runs import Tiny, result_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is one"),
]
NODES = 4
DEADLINE_S = 400.0
STEPS = ("train.steps=32", "train.save_every_steps=4")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Mapping[str, str]]:
    with slurm_cluster(nodes=NODES, patience_s=10, credential_s=10) as environment:
        yield environment


def submitted(tiny: Tiny, out: Path, cluster: Mapping[str, str], *overrides: str) -> str:
    """Hand in the job of a recipe on two nodes with a spare; returns Slurm's number of it."""
    python = ROOT / ".venv" / "bin" / "python"
    job = [
        *("launch.target=slurm", "launch.nodes=2", "launch.spares=1", "launch.start_s=60"),
        "launch.address=127.0.0.1",
        *(
            f"launch.cluster.workdir={ROOT}",
            f"launch.cluster.python={python}",
            "launch.cluster.slurm.probe_s=5",
            "launch.cluster.slurm.headless_s=10",
        ),
        # All nodes are this machine, whose name is not theirs.
        "launch.cluster.environment={OMP_NUM_THREADS: '1'}",
    ]
    recipe, *rest = tiny.arguments(out, "train.placement=fsdp2", *job, *overrides)
    out.mkdir(exist_ok=True)
    script = out / "job.sh"
    script.write_text(render(recipe, rest)[1])
    command = ["sbatch", "--parsable", str(script)]
    done = subprocess.run(command, env=dict(cluster), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def told_of(job: str, cluster: Mapping[str, str], what: str) -> str:
    """One field of squeue's, such as %B, the node on which the script runs."""
    command = ["squeue", "--noheader", "--states=all", f"--jobs={job}", f"--format={what}"]
    return subprocess.run(command, env=dict(cluster), capture_output=True, text=True, check=True).stdout.strip()


def state_of(job: str, cluster: Mapping[str, str]) -> str:
    return told_of(job, cluster, "%T")


def has_ended(job: str, cluster: Mapping[str, str]) -> bool:
    return state_of(job, cluster) not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")


def step_of(out: Path) -> int:
    """The furthest step that a rank has begun."""
    path = out / "keeper" / "status.json"
    return int(json.loads(path.read_text())["step"]) if path.exists() else 0


def ready(out: Path) -> int:
    """How many nodes may train."""
    nodes = json.loads((out / "keeper" / "status.json").read_text())["nodes"].values()
    return sum(node["state"] == "ready" for node in nodes)


def seated(out: Path) -> list[list[str]]:
    """The nodes that trained, by generation."""
    journal = read_journal(out / "keeper" / "journal.jsonl")
    return [event["seated"] for event in journal if event["event"] == "generation.began"]


def log_of(out: Path) -> str:
    return "".join(path.read_text() for path in sorted(out.glob("slurm-*.log")))


def test_a_node_that_dies_is_replaced_by_the_spare_and_the_result_is_the_same(
    tiny: Tiny, tmp_path: Path, cluster: Mapping[str, str]
) -> None:
    out = tmp_path / "out"
    job = submitted(tiny, out, cluster, *STEPS)
    wait_until(
        lambda: (step_of(out) >= 6 and ready(out) == NODES - 1) or has_ended(job, cluster),
        "step 6 is under way, and a spare is ready",
        deadline_s=DEADLINE_S,
    )
    first, lost = seated(out)[0]
    (spare,) = {"n1", "n2", "n3"} - {first, lost}
    if told_of(job, cluster, "%B") == lost:
        first, lost = lost, first
    kill_node(cluster, lost)
    wait_until(lambda: has_ended(job, cluster), "the job has ended", deadline_s=DEADLINE_S)
    log = log_of(out)
    assert state_of(job, cluster) == "COMPLETED", log
    assert "on n1,n2,n3\n" in log and log.count("Z on n") == 1 and "finished " in log.splitlines()[-1], log
    assert {*seated(out)[-1]} == {first, spare} and len(seated(out)) == 2
    whole = run_module("train", "run", *tiny.arguments(tmp_path / "whole", *STEPS))
    assert whole.returncode == 0, whole.stderr
    assert result_of(out) == result_of(tmp_path / "whole")


def test_what_would_fail_again_ends_the_job_with_the_rank_s_code(
    tiny: Tiny, tmp_path: Path, cluster: Mapping[str, str]
) -> None:
    out = tmp_path / "out"
    job = submitted(tiny, out, cluster, "model.vocab_size=256")
    wait_until(lambda: has_ended(job, cluster), "the job has ended", deadline_s=DEADLINE_S)
    log = log_of(out)
    assert state_of(job, cluster) == "FAILED", log
    assert "the run ended with 64" in log


def test_the_preflight_looks_at_the_nodes_of_an_allocation(
    tiny: Tiny, tmp_path: Path, cluster: Mapping[str, str]
) -> None:
    recipe, *rest = tiny.arguments(tmp_path / "out", "launch.nodes=2", "launch.preflight.burn_rounds=2")
    quick = ["launch.preflight.min_disk_mb_per_s=0.001", "launch.preflight.max_fsync_ms=60000"]
    command = [*(sys.executable, "-m", "launch", "preflight", recipe, *rest, *quick), "--json"]
    said = tmp_path / "said.json"
    batch = ["sbatch", "--parsable", "--nodes=2", "--exclusive", f"--output={said}", f"--error={tmp_path / 'err'}"]
    script = f"#!/bin/bash\ncd {ROOT} && {shlex.join(command)}\n"
    handed = subprocess.run(batch, input=script, env=dict(cluster), capture_output=True, text=True, check=True)
    wait_until(lambda: has_ended(handed.stdout.strip(), cluster), "the job has ended", deadline_s=DEADLINE_S)
    found = json.loads(said.read_text())
    assert len({one["node"] for one in found}) == 2 and all(one["node"].startswith("n") for one in found)
    assert [one for one in found if not one["is_good"]] == []


@pytest.mark.parametrize("how", ["warned", "its own node dies"])
def test_a_job_goes_on_from_the_queue_and_the_result_is_the_same(
    tiny: Tiny, tmp_path: Path, cluster: Mapping[str, str], how: str
) -> None:
    out = tmp_path / "out"
    job = submitted(tiny, out, cluster, *STEPS, "launch.spares=0")
    wait_until(lambda: step_of(out) >= 6, "step 6 is under way", deadline_s=DEADLINE_S)
    if how == "warned":
        subprocess.run(["scancel", "--batch", "--signal=USR1", job], env=dict(cluster), check=True)
    else:
        kill_node(cluster, told_of(job, cluster, "%B"))
    wait_until(lambda: has_ended(job, cluster), "the job has ended", deadline_s=DEADLINE_S)
    log = log_of(out)
    assert state_of(job, cluster) == "COMPLETED", log
    assert ("out of time; going on in the next allocation" in log) is (how == "warned")
    assert log.count("Z on n") == 2 and "run.resumed" in log, log
    assert [len(nodes) for nodes in seated(out)] == [2, 2]
    whole = run_module("train", "run", *tiny.arguments(tmp_path / "whole", *STEPS))
    assert whole.returncode == 0, whole.stderr
    assert result_of(out) == result_of(tmp_path / "whole")
