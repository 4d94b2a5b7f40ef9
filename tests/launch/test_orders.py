"""What keepers are told when a generation begins."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.kept import VARIABLE
from launch.config import LaunchConfig
from launch.keeperconfig import Place
from launch.members import Node
from launch.nodes import place_of
from launch.orders import orders


@pytest.fixture
def nodes() -> Iterator[dict[str, Node]]:
    """Three nodes that are connected."""
    ends = [socket.socketpair() for _ in range(3)]
    yield {
        name: Node(name, ours, "10.0.0.1", 1, f"shelf-{name}", 7000 + at, 0, {})
        for at, (name, (ours, _)) in enumerate(zip("abc", ends, strict=True))
    }
    for pair in ends:
        for end in pair:
            end.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A run of two nodes with two ranks each."""
    config = LaunchConfig(nodes=2, ranks_per_node=2, spares=1, base_every_steps=5, audit_rate=0.1)
    made = place_of("tiny.yaml", ["train.steps=4"], config, out=tmp_path, micro_batches=8)
    yield made
    shutil.rmtree(made.room)


def test_ranks_follow_the_order_of_the_nodes_and_meet_at_the_first(nodes: dict[str, Node], place: Place) -> None:
    told = orders(["c", "a"], nodes=nodes, spares=["b"], generation=3, void_after=-1, voids=[], place=place)
    assert {name: [one["rank"] for one in order["ranks"]] for name, order in told.items()} == {"c": [0, 1], "a": [2, 3]}
    environment = told["a"]["ranks"][1]["environment"]
    assert {name: environment[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")} == {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "2",
    }
    kept = json.loads(environment[VARIABLE])
    assert (kept["meeting"], kept["generation"], kept["node"]) == ("10.0.0.1:7002", 3, "a")
    assert (kept["shelves"], kept["all_shelves"]) == (["shelf-a", "shelf-c"], ["shelf-a", "shelf-b", "shelf-c"])
    assert kept["is_awaited"] and kept["base_every"] == 5


def test_a_spare_holds_what_the_only_node_hands_over(nodes: dict[str, Node], place: Place) -> None:
    told = orders(["a"], nodes=nodes, spares=["b"], generation=1, void_after=4, voids=[(1, 4)], place=place)
    kept = json.loads(told["a"]["ranks"][0]["environment"][VARIABLE])
    assert (kept["shelves"], kept["void_after"], told["a"]["void_after"]) == (["shelf-a", "shelf-b"], 4, 4)
    assert kept["voids"] == [[1, 4]]


def test_the_place_is_read_as_it_was_written_and_nobody_else_may_read_it(place: Place) -> None:
    path = place.write()
    assert Place.read(path) == place
    assert path.stat().st_mode & 0o077 == 0
