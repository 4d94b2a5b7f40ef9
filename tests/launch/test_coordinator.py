"""What a coordinator does with nodes, without processes: nodes are sockets that nobody reads."""

import json
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.kept import VARIABLE
from core.wire import Line
from launch.config import LaunchConfig
from launch.coordinator import Coordinator
from launch.members import Node, State
from launch.nodes import place_of


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    """Of a run of two nodes that are ready, before its first generation."""
    config = LaunchConfig(nodes=2, base_every_steps=5)
    place = place_of("tiny.yaml", [], config, out=tmp_path, micro_batches=8)
    before = signal.getsignal(signal.SIGTERM)
    made = Coordinator(place)
    ends = [socket.socketpair() for _ in range(2)]
    for at, (name, (ours, _)) in enumerate(zip("ab", ends, strict=True)):
        made.members.nodes[name] = Node(name, ours, "127.0.0.1", 1, "", 7000 + at, 0, {}, state=State.READY)
    yield made
    signal.signal(signal.SIGTERM, before)
    for pair in ends:
        for end in pair:
            end.close()
    place.room.rmdir()


def test_no_generation_begins_at_a_port_that_the_one_before_has_taken(coordinator: Coordinator) -> None:
    coordinator._begin_if_possible()
    assert coordinator.history.generation == 1
    coordinator.halt("a node has come back")
    coordinator._begin_if_possible()
    assert coordinator.history.generation == 1
    coordinator._hear(coordinator.members.nodes["a"], {"say": "ready", "port": 7100})
    coordinator._begin_if_possible()
    assert coordinator.history.generation == 2


def test_a_node_that_cannot_train_yet_holds_what_the_only_one_that_trains_hands_over(coordinator: Coordinator) -> None:
    nodes = coordinator.members.nodes
    nodes["b"].state, nodes["b"].shelf = State.STARTING, "127.0.0.1:9"
    ours, other = socket.socketpair()
    nodes["a"].connection = ours
    coordinator._begin(["a"])
    (told,) = Line().feed(other.recv(1 << 16))
    kept = json.loads(told["ranks"][0]["environment"][VARIABLE])
    assert kept["shelves"] == [nodes["a"].shelf, "127.0.0.1:9"]
    for end in (ours, other):
        end.close()


def _join(coordinator: Coordinator) -> Node:
    """A third node, which shows a passport that disagrees with what node a has said."""
    ours, _ = socket.socketpair()
    node = Node("c", ours, "127.0.0.1", 1, "", 7100, 0, {})
    coordinator.members.nodes["c"] = node
    coordinator._let_in_again()
    assert node.state is State.ASKED
    (number,) = coordinator.audits._tasks
    wrong = {"step": 3, "index": 1, "rank": 0, "node": "a", "said": "x", "found": "y"}
    result = json.dumps({"audited": [wrong]})
    coordinator._hear(node, {"say": "task", "id": number, "status": 0, "result": result})
    ours.close()
    return node


def test_when_a_passport_differs_a_third_says_who_is_wrong(coordinator: Coordinator) -> None:
    coordinator._begin_if_possible()
    node = _join(coordinator)
    suspect = coordinator.history.suspect
    assert suspect and (suspect["node"], suspect["auditor"]) == ("a", "c")
    assert (node.state, coordinator.quarantine.entries()) == (State.STARTING, {})
    assert not coordinator.is_running


def test_without_a_third_the_one_that_joins_is_left_alone(coordinator: Coordinator) -> None:
    coordinator._begin_if_possible()
    del coordinator.members.nodes["b"]
    assert _join(coordinator).state is State.REFUSED
    assert "its passport is wrong" in coordinator.quarantine.reason("c")


def test_a_passport_waits_while_it_is_not_known_who_lied(coordinator: Coordinator) -> None:
    coordinator._begin_if_possible()
    coordinator.history.record("audit.voted", liar="b", node="b")
    node = coordinator.members.nodes["a"]
    node.state, node.port = State.STARTING, 7100
    coordinator._let_in_again()
    assert (coordinator.audits.is_busy, node.state) == (True, State.STARTING)
    coordinator.history.record("rolled back", after=0)
    coordinator._let_in_again()
    assert node.state is State.ASKED


def test_who_is_asked_to_stop_between_two_generations_begins_the_next_for_what_keepers_hold(
    coordinator: Coordinator,
) -> None:
    coordinator._begin_if_possible()
    coordinator.halt("a node has come back")
    coordinator._ask_to_stop(signal.SIGTERM, None)
    coordinator._stop()
    assert coordinator._ended is None
    coordinator.members.nodes["a"].port = 7100
    coordinator._begin_if_possible()
    for phase, told in (("start", 0), ("compute", 2)):
        for rank, node in enumerate(coordinator.members.nodes.values()):
            node.beats = {rank: (1, phase, 1)}
        coordinator._stop()
        assert coordinator._told_to_stop == told


def test_who_is_asked_to_stop_before_anything_has_begun_stops_at_once(coordinator: Coordinator) -> None:
    coordinator._ask_to_stop(signal.SIGTERM, None)
    coordinator._stop()
    assert coordinator._ended and coordinator._ended[0] == 143


def test_with_fewer_nodes_than_the_fewest_nobody_begins(coordinator: Coordinator) -> None:
    coordinator.place = replace(coordinator.place, min_nodes=2)
    coordinator._begin_if_possible()
    coordinator.halt("node b was lost")
    lost = coordinator.members.nodes.pop("b")
    coordinator._hear(coordinator.members.nodes["a"], {"say": "ready", "port": 7100})
    coordinator._begin_if_possible()
    assert coordinator.history.generation == 1 and coordinator._ended is None
    coordinator.place = replace(coordinator.place, join_s=-1.0)
    coordinator._begin_if_possible()
    assert coordinator._ended and coordinator._ended[0] == 75 and "launch.min_nodes is 2" in coordinator._ended[1]
    coordinator._ended = None
    coordinator.members.nodes["b"] = lost
    coordinator._begin_if_possible()
    assert coordinator.history.generation == 2


def test_a_coordinator_that_nobody_has_waited_for_begins_anew_without_a_failure(coordinator: Coordinator) -> None:
    coordinator._begin_if_possible()
    coordinator.members.nodes.clear()
    coordinator.place = replace(coordinator.place, node_timeout_s=-1.0)
    coordinator._look_at_ranks()
    assert not coordinator.is_running and not coordinator._failures and not coordinator.history.seated
