"""What is done about failures under keepers, as tables."""

from dataclasses import replace
from typing import Any

import pytest

from launch.decide import Action, Failure, Kind, buddy, cause, is_lemon, judge, kind_of, liar, seat

KINDS = [
    # exit status, last word, killed for want of memory; what it was
    (0, "done", False, None),
    (143, "stopped", False, None),
    (-9, "", False, Kind.CRASH),
    (-9, "", True, Kind.OOM),
    (-6, "", False, Kind.CRASH),
    (1, "ValueError: x", False, Kind.ERROR),
    (1, "MemoryError: x", False, Kind.OOM),
    (1, "RuntimeError: [enforce fail] can't allocate memory", False, Kind.OOM),
    (65, "the loss is not finite", False, Kind.ERROR),
    (75, "lost a peer", False, Kind.PEER),
]


@pytest.mark.parametrize(("status", "word", "is_oom", "kind"), KINDS)
def test_the_end_of_a_rank_says_what_it_was(status: int, word: str, is_oom: bool, kind: Kind | None) -> None:
    assert kind_of(status, word=word, is_oom=is_oom) is kind


def _failure(kind: Kind, node: str = "a", rank: int = 0, step: int = 7, **facts: Any) -> Failure:
    return Failure(kind=kind, node=node, rank=rank, step=step, **facts)


def test_the_cause_is_not_the_peer_that_noticed() -> None:
    peers = [_failure(Kind.PEER, rank=rank, code=75) for rank in (0, 1)]
    for kind in (Kind.LOST, Kind.OOM, Kind.ERROR, Kind.CRASH, Kind.HANG):
        assert cause([peers[0], _failure(kind, rank=2), peers[1]]).rank == 2


def test_of_ranks_that_stand_still_the_one_that_says_nothing_is_the_cause() -> None:
    waiting = _failure(Kind.HANG, rank=0, seconds=9.0, has_stack=True)
    frozen = _failure(Kind.HANG, rank=1, seconds=8.0, has_stack=False)
    assert cause([waiting, frozen]).rank == 1
    longer = _failure(Kind.HANG, rank=2, seconds=9.5, has_stack=True)
    assert cause([waiting, longer]).rank == 2


ERROR = _failure(Kind.ERROR, code=1, word="ValueError: x")
ERROR_B = replace(ERROR, node="b")
JUDGED = [
    # what failed; causes before it; nodes left; restarts without progress: what is done, with which exit code
    (_failure(Kind.CRASH, code=-9), [], 2, 0, Action.RESTART, 75),
    (_failure(Kind.LOST), [], 1, 0, Action.RESTART, 75),
    (_failure(Kind.HANG), [], 2, 0, Action.RESTART, 75),
    (_failure(Kind.PEER, code=75), [], 2, 0, Action.RESTART, 75),
    (_failure(Kind.ERROR, code=64, word="bad recipe"), [], 2, 0, Action.GIVE_UP, 64),
    (_failure(Kind.ERROR, code=66, word="bad shard"), [], 2, 0, Action.GIVE_UP, 66),
    # An error is tried once more, elsewhere: the same again at the same step is no node's fault.
    (ERROR, [], 2, 0, Action.RESTART, 75),
    (ERROR, [ERROR_B], 2, 1, Action.GIVE_UP, 65),
    (ERROR, [replace(ERROR_B, step=8)], 2, 1, Action.RESTART, 75),
    (ERROR, [ERROR], 2, 1, Action.RESTART, 75),
    (ERROR, [ERROR], 1, 1, Action.GIVE_UP, 65),
    (ERROR, [_failure(Kind.ERROR, node="b", code=1, word="other")], 2, 1, Action.RESTART, 75),
    (_failure(Kind.CRASH, code=-6), [_failure(Kind.CRASH, node="b", code=-6)], 2, 1, Action.GIVE_UP, 65),
    # SIGKILL comes from outside: twice at a step may be chance, and only the budget ends it.
    (_failure(Kind.CRASH, code=-9), [_failure(Kind.CRASH, node="b", code=-9)], 2, 1, Action.RESTART, 75),
    (_failure(Kind.CRASH, code=-9), [_failure(Kind.CRASH, node="b", code=-9)], 2, 3, Action.GIVE_UP, 65),
    (_failure(Kind.LOST), [_failure(Kind.HANG)], 2, 3, Action.GIVE_UP, 75),
    # Memory that did not suffice twice at a step will not the third time, on whatever node.
    (_failure(Kind.OOM), [], 2, 0, Action.RESTART, 75),
    (_failure(Kind.OOM), [_failure(Kind.OOM)], 2, 1, Action.GIVE_UP, 65),
]


@pytest.mark.parametrize(("found", "before", "nodes", "idle", "action", "code"), JUDGED)
def test_a_failure_is_judged(
    found: Failure, before: list[Failure], nodes: int, idle: int, action: Action, code: int
) -> None:
    verdict = judge(found, history=before, nodes_left=nodes, idle_restarts=idle, max_idle_restarts=3, backoff_s=1.0)
    assert (verdict.action, verdict.exit_code) == (action, code), verdict.reason


def test_the_first_restart_comes_at_once_and_later_ones_wait_twice_as_long_each_time() -> None:
    waits = [
        judge(_failure(kind), history=[], nodes_left=2, idle_restarts=idle, max_idle_restarts=9, backoff_s=0.5).wait_s
        for kind in (Kind.PEER, Kind.LOST)
        for idle in range(4)
    ]
    # Without the node that was lost there is nothing to wait for.
    assert waits == [0.0, 0.5, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0]


def test_who_stands_still_again_is_given_other_peers() -> None:
    hang, crash = _failure(Kind.HANG), _failure(Kind.CRASH, code=-9)
    peer = _failure(Kind.PEER, code=75)
    for found, before, is_moved in [
        (hang, [], False),
        (hang, [peer], True),
        (peer, [hang], True),
        (hang, [crash], False),
    ]:
        verdict = judge(found, history=before, nodes_left=3, idle_restarts=1, max_idle_restarts=3, backoff_s=0.0)
        assert verdict.is_moved is is_moved


SEATS = [
    # ready, seated before, wanted, moved; who trains
    (["a", "b", "c"], [], 2, False, ["a", "b"]),
    (["a", "b", "c"], ["a", "b"], 2, False, ["a", "b"]),
    (["a", "c"], ["a", "b"], 2, False, ["a", "c"]),
    (["b", "c"], ["a", "b"], 2, False, ["c", "b"]),
    (["b"], ["a", "b"], 2, False, ["b"]),
    (["a", "b"], ["b"], 2, False, ["b", "a"]),
    (["a", "b"], ["a", "b"], 2, True, ["b", "a"]),
    (["a", "b", "c"], ["a", "b"], 2, True, ["b", "c"]),
    (["a"], ["a"], 2, True, ["a"]),
    ([], ["a"], 2, False, []),
]


@pytest.mark.parametrize(("ready", "before", "wanted", "is_moved", "seated"), SEATS)
def test_nodes_are_seated(ready: list[str], before: list[str], wanted: int, is_moved: bool, seated: list[str]) -> None:
    assert seat(ready, before=before, wanted=wanted, is_moved=is_moved) == seated


def test_a_buddy_is_another_node_if_there_is_one() -> None:
    assert buddy("a", seated=["a", "b", "c"], spares=["d"]) == "b"
    assert buddy("c", seated=["a", "b", "c"], spares=["d"]) == "a"
    assert buddy("a", seated=["a"], spares=["d"]) == "d"
    assert buddy("a", seated=["a"], spares=[]) is None


def test_a_node_that_failed_three_times_in_a_day_is_a_lemon() -> None:
    assert is_lemon([0.0, 10.0, 20.0], now=30.0, limit=3)
    assert not is_lemon([0.0, 10.0], now=30.0, limit=3)
    assert not is_lemon([0.0, 10.0, 20.0], now=24 * 3600.0 + 5.0, limit=3)
    assert not is_lemon([0.0, 10.0, 20.0], now=30.0, limit=0)


def test_the_liar_is_the_one_whom_the_third_does_not_agree_with() -> None:
    votes = {voted: liar(said="x", found="y", owner="a", auditor="b", voted=voted) for voted in ("y", "x", "z", "")}
    assert votes == {"y": "a", "x": "b", "z": None, "": None}
