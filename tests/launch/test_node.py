"""A node's process, as a scheduler would start it, ends as its ranks did; for two nodes see test_scripts.py."""

from pathlib import Path

import pytest

from core.errors import ConfigError
from launch.config import LaunchConfig
from launch.node import Place, place_of
from tests.conftest import run_module
from tests.train.runs import Tiny


def test_what_would_fail_again_has_its_own_code(tiny: Tiny, tmp_path: Path) -> None:
    wrong = tiny.arguments(tmp_path / "out", "model.vocab_size=256")
    ended = run_module("launch", "node", *wrong)
    assert ended.returncode == 64, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: node 0 of 1: ")


CLUSTER = LaunchConfig(nodes=2)


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
