"""The start commands of rendered jobs, run for real on machines of namespaces, as JobSet and SkyPilot would run them.

Slow: most of the time is spent on processes that import torch.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.codetree import ROOT
from launch.drills.machines import Machine, machines, why_not
from launch.render import render
from tests.launch.conftest import wait_until
from tests.launch.keeper_runs import DEADLINE_S, UNHURRIED, Kept, undisturbed, weights_of
from tests.launch.pods import Pod, start, start_pod
from tests.train.runs import Tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "there are some"),
]
SHAPE = ("train.steps=24", "train.save_every_steps=4")
JOB = (
    *("launch.nodes=2", "launch.ranks_per_node=1", "launch.base_every_steps=3", "launch.node_timeout_s=20"),
    # A coordinator that is lost is back before the ranks give up, however slow this machine is.
    *("launch.coordinator_timeout_s=200", UNHURRIED),
    f"launch.cluster.workdir={ROOT}",
    f"launch.cluster.python={sys.executable}",
    "launch.cluster.environment={OMP_NUM_THREADS: '1'}",
)


@pytest.fixture(scope="module")
def clean(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The final weights of a run of this shape that nothing happened to."""
    return undisturbed(tiny, tmp_path_factory.mktemp("clean"), SHAPE)


@pytest.fixture
def pods() -> Iterator[list[Pod]]:
    """What a test starts; what is left of it is killed."""
    started: list[Pod] = []
    yield started
    for pod in started:
        pod.kill()


def documents(tiny: Tiny, out: Path, *overrides: str) -> list[dict[str, Any]]:
    recipe, *rest = tiny.arguments(out, *SHAPE, *JOB, *overrides)
    return list(yaml.safe_load_all(render(recipe, rest)[1]))


def run_of(out: Path, pod: Pod) -> Kept:
    """A run as keeper_runs.py knows it, whose end is this pod's."""
    return Kept(out, pod.process)


def is_over(pods: Sequence[Pod]) -> bool:
    return all(pod.process.poll() is not None for pod in pods)


@pytest.mark.parametrize("target", ["k8s_jobset", "k8s_trainjob"])
def test_pods_of_a_jobset_survive_a_lost_node_and_a_lost_coordinator(
    tiny: Tiny, clean: str, tmp_path: Path, pods: list[Pod], target: str
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    cluster = [
        *("launch.cluster.kubernetes.image=i", "launch.cluster.kubernetes.claim=c"),
        f"launch.cluster.kubernetes.mount={tmp_path}",
    ]
    manifest = documents(tiny, out, f"launch.target={target}", "launch.spares=1", *cluster)[0]["spec"]
    jobs = manifest.get("template", {}).get("spec", manifest)["replicatedJobs"]
    node, coordinator = (one["template"]["spec"] for one in jobs)
    assert (node["completions"], coordinator["completions"]) == (3, 1)
    with machines(4) as (*own, elsewhere, outside):
        pods += [start_pod(node["template"]["spec"], one, at, log) for at, one in enumerate(own)]
        pods.append(start_pod(coordinator["template"]["spec"], outside, 0, log))
        run = run_of(out, pods[-1])
        run.wait(lambda: step_of(run) >= 5 and len(ready(run)) == 3, "step 5 is under way, and a spare is ready")
        assert {*ready(run)} == {one.name for one in own}, log.read_text()
        lost = run.events("generation.began")[0]["seated"][0]
        next(pod for pod in pods if pod.machine.name == lost).kill()
        run.wait(lambda: len(run.events("generation.began")) == 2, "the spare trains")
        done = step_of(run)
        run.wait(lambda: step_of(run) >= done + 3, "three steps later")
        # Kubernetes starts its pod anew, on another machine with another address.
        pods[-1].kill()
        pods.append(start_pod(coordinator["template"]["spec"], elsewhere, 0, log))
        wait_until(lambda: is_over(pods), "all pods have ended", deadline_s=DEADLINE_S)
        codes = [pod.process.returncode for pod in pods]
        assert codes.count(0) == 3 and codes[-1] == 0, log.read_text()
        second = run.events("generation.began")[1]
        assert lost not in second["seated"] and len(second["seated"]) == 2
        assert run.events("taken up") and weights_of(out) == clean
        # What comes too late, such as a pod that was slow to start, finds all done.
        late = start_pod(node["template"]["spec"], own[0], 0, log)
        pods += [late, start_pod(coordinator["template"]["spec"], outside, 0, log)]
        wait_until(lambda: is_over(pods), "late pods have ended", deadline_s=DEADLINE_S)
        assert [pod.process.returncode for pod in pods[-2:]] == [0, 0], log.read_text()


def step_of(run: Kept) -> int:
    """The furthest step that a rank has begun."""
    return int(run.status().get("step", 0))


def ready(run: Kept) -> list[str]:
    return [name for name, node in run.status().get("nodes", {}).items() if node["state"] == "ready"]


def test_skypilot_nodes_go_on_after_a_killed_rank_and_again_in_another_cluster_after_a_lost_node(
    tiny: Tiny, clean: str, tmp_path: Path, pods: list[Pod]
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    cluster = ["launch.cluster.skypilot.volume=v", f"launch.cluster.skypilot.mount={tmp_path}"]
    killed = "launch.faults=['sleep@rank=0,seconds=0.3','crash@rank=1,step=4,generation=1']"
    (task,) = documents(tiny, out, "launch.target=skypilot", *cluster, killed)
    assert task["num_nodes"] == 2

    def up(nodes: Sequence[Machine]) -> list[Pod]:
        addresses = "\n".join(one.address for one in nodes)
        told = {**task["envs"], "SKYPILOT_NODE_IPS": addresses, "SKYPILOT_NUM_NODES": str(len(nodes))}
        return [
            start(
                one, ["env", f"--chdir={ROOT}", "bash", "-c", task["run"]], {**told, "SKYPILOT_NODE_RANK": str(at)}, log
            )
            for at, one in enumerate(nodes)
        ]

    with machines(4) as made:
        pods += up(made[:2])
        run = run_of(out, pods[0])
        run.wait(lambda: len(run.events("generation.began")) == 2 and step_of(run) >= 9, "a later step")
        (failed,) = run.events("failed")
        assert failed["rank"] == 1 and not is_over(pods[:1]), log.read_text()
        # A node is lost: SkyPilot ends the other one too, and brings up two more.
        for pod in pods:
            pod.kill()
        again = up(made[2:4])
        pods += again
        wait_until(lambda: is_over(again), "both nodes have ended", deadline_s=DEADLINE_S)
        assert [pod.process.returncode for pod in again] == [0, 0], log.read_text()
    assert weights_of(out) == clean


def test_a_refused_recipe_ends_all_that_the_first_node_has_started(tiny: Tiny, tmp_path: Path, pods: list[Pod]) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    cluster = ["launch.cluster.skypilot.volume=v", f"launch.cluster.skypilot.mount={tmp_path}", "train.lr=-1"]
    (task,) = documents(tiny, out, "launch.target=skypilot", *cluster)
    with machines(1) as (one, outside):
        told = {**task["envs"], "SKYPILOT_NODE_IPS": f"{one.address}\n{outside.address}", "SKYPILOT_NODE_RANK": "0"}
        pods.append(start(one, ["env", f"--chdir={ROOT}", "bash", "-c", task["run"]], told, log))
        wait_until(lambda: is_over(pods), "the node has ended", deadline_s=DEADLINE_S)
    assert pods[0].process.returncode == 64, log.read_text()
