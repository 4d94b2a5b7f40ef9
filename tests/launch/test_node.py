"""Two nodes of one rank each on this machine, as a scheduler would start them: they end as their ranks did."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.codetree import ROOT
from core.errors import ConfigError
from launch.config import LaunchConfig
from launch.node import Place, place_of
from launch.renderers.config import ClusterConfig
from tests.conftest import run_module
from tests.data.processes import until
from tests.launch.conftest import processes_with
from tests.train.runs import Tiny, beats_of, pack_once, result_of

PORT = "29653"
NODES = ("launch.cluster.nodes=2", "train.placement=hsdp")


@pytest.fixture(scope="module")
def tiny(shared_recipe: Path) -> Tiny:
    return pack_once(shared_recipe)


def start(tiny: Tiny, out: Path, node: int) -> "subprocess.Popen[str]":
    """Start one of the two nodes."""
    arguments = tiny.arguments(out, *NODES)
    command = [sys.executable, "-m", "launch", "node", *arguments, f"--node={node}", f"--meet=127.0.0.1:{PORT}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# Forty seconds: eight processes import torch, and the run is made twice.
@pytest.mark.slow
def test_a_killed_rank_ends_both_nodes_with_75_and_a_second_start_ends_with_the_same_bits(
    tiny: Tiny, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    nodes = [start(tiny, out, node) for node in range(2)]
    until(lambda: any(beat["step"] >= 6 for beat in beats_of(out, 1)))
    os.kill(beats_of(out, 1)[0]["pid"], signal.SIGKILL)
    said = [node.communicate(timeout=200) for node in nodes]
    assert [node.returncode for node in nodes] == [75, 75], said
    assert "error: node 1 of 2: rank 1 died without a word" in said[1][1]
    assert processes_with(str(out)) == []
    nodes = [start(tiny, out, node) for node in range(2)]
    said = [node.communicate(timeout=200) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    whole = run_module("train", "run", *tiny.arguments(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert result_of(out) == result_of(tmp_path / "whole")
    told = run_module("launch", "goodput", *tiny.arguments(out, *NODES)[:-1], "--json")
    assert told.returncode == 0, told.stderr
    facts = json.loads(told.stdout)
    assert (facts["starts"], facts["steps"], facts["is_finished"]) == (2, 12, True)
    assert facts["redone"] >= 2 and facts["seconds"]["redo"] > 0 and facts["seconds"]["restart"] > 0
    assert sum(facts["seconds"].values()) == pytest.approx(facts["total"])


def test_what_would_fail_again_has_its_own_code(tiny: Tiny, tmp_path: Path) -> None:
    wrong = tiny.arguments(tmp_path / "out", "model.vocab_size=256")
    ended = run_module("launch", "node", *wrong)
    assert ended.returncode == 64, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: node 0 of 1: ")


CLUSTER = LaunchConfig(cluster=ClusterConfig(nodes=2))


def test_a_node_knows_its_place_from_its_scheduler() -> None:
    kubeflow = {"PET_NODE_RANK": "1", "PET_MASTER_ADDR": "job-node-0-0.job", "PET_MASTER_PORT": "29400"}
    assert place_of(CLUSTER, {}, kubeflow) == Place(node=1, nodes=2, host="job-node-0-0.job", port=29400)
    jobset = place_of(CLUSTER, {"--meet": "head:29500"}, {"JOB_COMPLETION_INDEX": "0"})
    assert jobset == Place(node=0, nodes=2, host="head", port=29500)
    assert place_of(LaunchConfig(), {}, {}) == Place(node=0, nodes=1, host="127.0.0.1", port=29500)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"--meet": "head:29500"}, "node number '' is none of 0 to 1"),
        ({"--node": "2", "--meet": "head:29500"}, "node number '2' is none of 0 to 1"),
        ({"--node": "1"}, "give --meet=HOST:PORT"),
        ({"--node": "1", "--meet": "head"}, "give --meet=HOST:PORT"),
    ],
)
def test_a_node_that_does_not_know_its_place_is_told(options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        place_of(CLUSTER, options, {})
