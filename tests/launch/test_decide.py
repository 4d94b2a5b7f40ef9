"""Restart decisions, as a table."""

import pytest

from launch.decide import Action, End, Word, decide

LOST = Word(75, "a peer was lost")
STOPPED = Word(143, "stopped by SIGTERM")
BAD_DATA = Word(66, "shard 3 has another hash")
BAD_STEP = Word(65, "the loss is not finite")
BAD_INPUT = Word(64, "train.steps is -1")

CASES = [
    # what was seen; the action; the exit code; a part of the reason
    (End(exit_code=0), Action.FINISH, 0, "done"),
    (End(exit_code=0, words={0: Word(0, "done")}), Action.FINISH, 0, "done"),
    (End(silent=(1,)), Action.RESTART, 75, "rank 1 died without a word"),
    (End(exit_code=1, silent=(0, 1)), Action.RESTART, 75, "rank 0 and rank 1 died without a word"),
    (End(exit_code=-9, silent=(0,)), Action.RESTART, 75, "killed by SIGKILL"),
    (End(exit_code=1), Action.RESTART, 75, "its agent ended with exit code 1"),
    (End(is_stalled=True), Action.RESTART, 75, "no rank finished a step"),
    (End(words={1: LOST}), Action.RESTART, 75, "rank 1: a peer was lost"),
    (End(words={0: BAD_INPUT}), Action.GIVE_UP, 64, "train.steps is -1"),
    (End(words={1: BAD_STEP}), Action.GIVE_UP, 65, "rank 1: the loss is not finite"),
    (End(words={1: BAD_DATA}), Action.GIVE_UP, 66, "rank 1: shard 3 has another hash"),
    (End(exit_code=1, words={0: Word(1, "it crashed")}), Action.GIVE_UP, 1, "it crashed"),
    # The cause outweighs what it did to the others: a lost peer, a request to stop, a kill.
    (End(words={0: LOST, 1: BAD_DATA}), Action.GIVE_UP, 66, "shard 3"),
    (End(words={0: STOPPED, 1: BAD_DATA}), Action.GIVE_UP, 66, "shard 3"),
    (End(words={1: BAD_DATA}, silent=(0,)), Action.GIVE_UP, 66, "shard 3"),
    # A rank that was asked to stop stops the run, but not if its agent asked because a peer had died or hung.
    (End(words={0: STOPPED}), Action.STOP, 143, "asked to stop"),
    (End(words={0: STOPPED, 1: STOPPED}), Action.STOP, 143, "asked to stop"),
    (End(words={0: STOPPED, 1: LOST}), Action.STOP, 143, "asked to stop"),
    (End(words={0: STOPPED}, silent=(1,)), Action.RESTART, 75, "rank 1 died without a word"),
    (End(words={0: STOPPED}, is_stalled=True), Action.RESTART, 75, "no rank finished a step"),
    # A rank that is done while another dies leaves nothing to say.
    (End(words={0: Word(0, "done")}, silent=(1,)), Action.RESTART, 75, "rank 1"),
]


@pytest.mark.parametrize(("end", "action", "exit_code", "reason"), CASES)
def test_what_was_seen_decides(end: End, action: Action, exit_code: int, reason: str) -> None:
    decision = decide(end, idle_restarts=0, max_idle_restarts=3, backoff_s=1.0)
    assert (decision.action, decision.exit_code) == (action, exit_code)
    assert reason in decision.reason


def test_the_first_restart_comes_at_once_and_later_ones_wait_twice_as_long_each_time() -> None:
    waits = [decide(End(silent=(0,)), idle_restarts=n, max_idle_restarts=9, backoff_s=0.5).wait_s for n in range(5)]
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(("allowed", "idle"), [(0, 0), (3, 3), (3, 4)])
def test_restarts_without_progress_are_counted(allowed: int, idle: int) -> None:
    decision = decide(End(silent=(1,)), idle_restarts=idle, max_idle_restarts=allowed, backoff_s=1.0)
    assert (decision.action, decision.exit_code) == (Action.GIVE_UP, 75)
    assert f"{idle} restarts brought no progress" in decision.reason


def test_a_spent_budget_forbids_neither_the_end_nor_a_stop() -> None:
    done = decide(End(exit_code=0), idle_restarts=9, max_idle_restarts=3, backoff_s=1.0)
    stopped = decide(End(words={0: STOPPED}), idle_restarts=9, max_idle_restarts=3, backoff_s=1.0)
    assert (done.action, stopped.action) == (Action.FINISH, Action.STOP)
