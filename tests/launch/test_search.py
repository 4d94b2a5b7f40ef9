"""The search for the first wrong steps: few windows while everybody waits, all of them before the run is published."""

import json
import math
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.ledger import Ledger, genesis
from launch.config import LaunchConfig
from launch.coordinator import Coordinator
from launch.members import Node, State
from launch.nodes import place_of
from launch.search import Bounds, Steps, Window, bounds, probes, without
from tests.launch.keeper_runs import UNHURRIED, kept_run, weights_of
from tests.train.ranks import run_ranks
from tests.train.runs import pack_once
from train.run import main

STEPS = 4


def windows(count: int) -> list[Window]:
    return [Window(at * STEPS, (at + 1) * STEPS, f"step-{at}" if at else "") for at in range(count)]


def searched(count: int, is_wrong: Callable[[int], bool], *, nodes: int, good_until: int = 0) -> tuple[int, list[int]]:
    """The first wrong window that a search finds, and the rounds' windows in order."""
    made, asked = windows(count), list[int]()
    sound, wrong = set[Steps](), set[Steps]()
    while (known := bounds(made, sound=sound, wrong=wrong, good_until=good_until)).low < known.high:
        for at in probes(known, nodes):
            asked.append(at)
            (wrong if is_wrong(at) else sound).add((made[at].start, made[at].until))
    return known.high, asked


@pytest.mark.parametrize("nodes", [1, 2, 3, 8])
@pytest.mark.parametrize("first", [0, 1, 100, 254, 255, 256])
def test_a_node_that_lies_from_a_window_on_is_found_with_the_logarithm_of_them(first: int, nodes: int) -> None:
    found, asked = searched(256, lambda at: at >= first, nodes=nodes)
    assert found == first
    assert len(asked) == len(set(asked)) <= nodes * math.ceil(math.log(257, nodes + 1))


def test_what_came_before_the_node_trained_is_not_replayed() -> None:
    found, asked = searched(256, lambda at: at >= 100, nodes=2, good_until=99 * STEPS + 2)
    assert found == 100 and min(asked) >= 99


def test_a_search_goes_on_where_another_coordinator_left_it() -> None:
    sound, wrong = {(0, 4), (16, 20)}, {(24, 28), (20, 24)}
    assert bounds(windows(9), sound=sound, wrong=wrong, good_until=0) == Bounds(5, 5)


def test_ranges_of_steps_are_taken_away() -> None:
    assert without([(0, 12), (16, 20)], (4, 8)) == [(0, 4), (8, 12), (16, 20)]
    assert without([(0, 12), (16, 20)], (0, 18)) == [(18, 20)]
    assert without([(0, 12)], (12, 16)) == [(0, 12)]


class Told:
    """A node without processes: what it was told is read from the other end of its connection."""

    def __init__(self, coordinator: Coordinator, name: str) -> None:
        ours, self.end = socket.socketpair()
        self.node = Node(name, ours, "127.0.0.1", 1, "", 7000, 0, {}, state=State.READY)
        self.end.setblocking(False)
        self.coordinator = coordinator
        coordinator.members.nodes[name] = self.node

    def replays(self) -> list[dict[str, Any]]:
        """The replays that it was asked for since the last time."""
        try:
            text = self.end.recv(1 << 20).decode()
        except BlockingIOError:
            return []
        return [one for line in text.splitlines() if (one := json.loads(line)).get("verb") == "replay"]

    def answer(self, task: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        result = "".join(json.dumps(line) + "\n" for line in lines)
        self.coordinator._hear(self.node, {"say": "task", "id": task["id"], "status": 0, "result": result})


def line_of(step: int, *, is_wrong: bool = False) -> dict[str, Any]:
    return {"step": step, "loss": "wrong" if is_wrong else "right"}


def write_ledger(path: Path, *, wrong: int) -> None:
    ledger = Ledger(path, genesis(code="c", config="c", data="d", profile="p"))
    for step in range(1, 8 * STEPS + 1):
        ledger.append(line_of(step, is_wrong=step == wrong))
    ledger.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a run of 8 windows, of which the third alone was computed wrongly."""
    part = tmp_path / ".train-key.part"
    for step in range(STEPS, 9 * STEPS, STEPS):
        (part / "checkpoints" / f"step-{step:06d}").mkdir(parents=True)
    write_ledger(part / "ledger.jsonl", wrong=10)
    return tmp_path


@pytest.fixture
def coordinator(out: Path) -> Iterator[Coordinator]:
    place = place_of(
        "tiny.yaml", [], LaunchConfig(nodes=1, base_every_steps=5, audit_rate=0.5), out=out, micro_batches=8
    )
    before = signal.getsignal(signal.SIGTERM)
    yield Coordinator(place)
    signal.signal(signal.SIGTERM, before)
    place.room.rmdir()


def answer_all(coordinator: Coordinator, told: Told) -> list[tuple[int, int]]:
    """Let the coordinator ask, and the node answer rightly, until there is nothing more; returns what was replayed."""
    asked = []
    for _ in range(100):
        coordinator.audits.go_on()
        for task in told.replays():
            start = int(Path(task["values"]["checkpoint"] or "-0").name.rpartition("-")[2])
            asked.append((start, task["values"]["until"]))
            told.answer(task, [line_of(step) for step in range(start + 1, task["values"]["until"] + 1)])
    return asked


def test_a_window_that_the_search_passed_over_is_found_wrong_before_the_run_is_published(
    coordinator: Coordinator,
) -> None:
    trains, spare = Told(coordinator, "a"), Told(coordinator, "b")
    history = coordinator.history
    history.record("generation.began", generation=1, seated=["liar"], void_after=-1, saved=0)
    history.record("halted", why="an audit differs")
    history.record("audit.voted", liar="liar", node="liar")
    coordinator.members.nodes.pop("a")
    replayed = answer_all(coordinator, spare)
    # The only lie is in the third window; a bisection takes those behind it for sound, and goes back to the last.
    assert len(replayed) <= 4 and (8, 12) not in replayed
    assert (history.void_after, history.is_searching) == (32, False)
    assert sum(until - start for start, until in history.unproved) == 32 - STEPS * len(replayed)
    coordinator.members.nodes["a"] = trains.node
    history.record("generation.began", generation=2, seated=["a"], void_after=32, saved=32)
    trains.node.beats, trains.node.statuses = {0: (33, "wait", 1)}, {0: None}
    released = [event for event in (coordinator.history.path.read_text().splitlines()) if "released" in event]
    proved = answer_all(coordinator, spare)
    assert (8, 12) in proved and not {*proved} & {*replayed}
    assert not released and history.void_after == 8 and not coordinator.is_running
    # What is behind it is void; what is before it has been replayed, or will be.
    assert all(until <= 8 for _, until in history.unproved)


def test_a_run_whose_windows_are_all_sound_is_published_once_they_are_known_to_be(
    coordinator: Coordinator, out: Path
) -> None:
    (ledger,) = out.glob(".train-*.part/ledger.jsonl")
    ledger.unlink()
    write_ledger(ledger, wrong=0)
    trains = Told(coordinator, "a")
    history = coordinator.history
    history.record("generation.began", generation=2, seated=["a"], void_after=-1, saved=32)
    history.record("rolled back", after=32, unproved=[[0, 32]])
    history.record("generation.began", generation=3, seated=["a"], void_after=32, saved=32)
    trains.node.beats, trains.node.statuses = {0: (33, "wait", 1)}, {0: None}
    coordinator.audits.go_on()
    assert '"released"' not in history.path.read_text()
    proved = [(at * STEPS, (at + 1) * STEPS) for at in range(8)]
    (task,) = trains.replays()
    trains.answer(task, [line_of(step) for step in range(1, 5)])
    assert sorted([(0, 4), *answer_all(coordinator, trains)]) == proved
    assert not history.unproved and '"released"' in history.path.read_text()


# Slow: three nodes and a spare train, and are audited.
@pytest.mark.slow
def test_a_spare_that_lies_once_it_trains_costs_no_replay_of_what_came_before(
    shared_recipe: Path, tmp_path: Path
) -> None:
    tiny, shape = pack_once(shared_recipe), ("train.steps=24", "train.save_every_steps=4")
    root = tmp_path / "clean"
    assert run_ranks(1, main, [tiny.arguments(root, *shape)], notes=tmp_path / "notes").exit_codes == [0]
    faults = [
        UNHURRIED.removeprefix('launch.faults=["').removesuffix('"]'),
        "lose@rank=1,step=11,generation=1",
        # Whoever takes its place.
        "flip@rank=1,share=0.5,generation=2",
    ]
    texts = ",".join(f'"{text}"' for text in faults)
    more = ("launch.spares=2", "launch.audit_rate=0.5", "train.keep_newest=9", f"launch.faults=[{texts}]")
    with kept_run(tiny, tmp_path / "out", *shape, *more) as run:
        assert run.finish() == 0, run.stderr
    first, second, *_ = run.events("generation.began")
    ((liar,),) = [{*second["seated"]} - {*first["seated"]}]
    assert [event["liar"] for event in run.events("audit.voted")] == [liar]
    replayed, known_good = run.events("window.replayed"), second["saved"]
    assert known_good >= 4 and all(event["start"] >= known_good for event in replayed)
    assert sum(event["until"] - event["start"] for event in replayed) <= 24 - known_good
    assert [event["after"] >= known_good for event in run.events("rolled back")] == [True]
    assert run.weights() == weights_of(root)
