"""Which checkpoint to go on from and which to remove, as tables."""

import pytest

from train.recovery import Candidate, choose_start, superfluous


def is_kept(step: int) -> bool:
    """Saved every 2 steps, kept every 4."""
    return step % 4 == 0


@pytest.mark.parametrize(
    ("sound", "damaged", "start", "refused"),
    [
        ([], [], 0, []),
        ([2], [], 2, []),
        ([2, 4, 6], [], 6, []),
        ([4, 6], [], 6, []),
        ([4], [6], 4, [6]),
        ([4, 6], [8], 6, [8]),
        ([], [4], 0, [4]),
        ([6, 8], [4], 0, [4, 6, 8]),
        ([6], [], 0, [6]),
        ([2, 8], [4], 2, [4, 8]),
        ([4, 12], [8, 10], 4, [8, 10, 12]),
        ([4, 8], [6], 8, [6]),
    ],
)
def test_start(sound: list[int], damaged: list[int], start: int, refused: list[int]) -> None:
    candidates = [Candidate(step) for step in sound] + [Candidate(step, "torn") for step in damaged]
    chosen = choose_start(candidates, is_kept=is_kept)
    assert chosen.step == start
    assert [candidate.step for candidate in chosen.refused] == refused
    assert all(candidate.fault for candidate in chosen.refused)


def test_the_reason_says_why_it_is_not_the_newest() -> None:
    assert choose_start([], is_kept=is_kept).reason == "there is no checkpoint"
    assert choose_start([Candidate(2)], is_kept=is_kept).reason == "it is the newest checkpoint and sound"
    damaged = choose_start([Candidate(2), Candidate(4, "torn")], is_kept=is_kept)
    assert damaged.reason == "it is the newest checkpoint that is sound and has all before it"


@pytest.mark.parametrize(
    ("steps", "newest", "removed"),
    [
        ([], 2, []),
        ([2], 2, []),
        ([2, 4], 2, []),
        ([2, 4, 6], 2, [2]),
        ([2, 6, 10], 1, [2, 6]),
        ([2, 6, 10], 3, []),
        ([4, 8, 10, 12], 2, []),
        ([4, 6, 8, 10], 2, [6]),
        ([4, 8, 10, 12], 0, [10]),
    ],
)
def test_superfluous(steps: list[int], newest: int, removed: list[int]) -> None:
    assert superfluous(steps, is_kept=is_kept, newest=newest) == removed
