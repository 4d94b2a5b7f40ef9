import math

import pytest

from core.codetree import ROOT
from release.audit import Segment, all_segments, audit, boundaries, chance_caught, draw, expected, joined, odds
from release.contents import Bundle
from release.verdict import InconclusiveError, UnsupportedError
from tests.release.forgery import edit_json

SEGMENTS = [Segment(start, start + 20) for start in range(0, 240, 20)]
ROOTS = [f"{number:064x}" for number in range(1, 300)]


def test_the_run_is_cut_at_its_state_roots() -> None:
    steps = [{"step": step, "state": "root" if step in (4, 8, 10) else None} for step in range(1, 11)]
    assert all_segments(steps) == [Segment(0, 4), Segment(4, 8), Segment(8, 10)]


def test_the_draw_follows_from_root_and_nonce_and_reaches_every_segment() -> None:
    assert draw(SEGMENTS, root=ROOTS[0], nonce="", count=1) == draw(SEGMENTS, root=ROOTS[0], nonce="", count=1)
    by_root = {draw(SEGMENTS, root=root, nonce="", count=1)[0] for root in ROOTS}
    by_nonce = {draw(SEGMENTS, root=ROOTS[0], nonce=nonce, count=1)[0] for nonce in ROOTS}
    assert by_root == by_nonce == set(SEGMENTS)
    assert draw(SEGMENTS, root=ROOTS[0], nonce="", count=99) == SEGMENTS


def test_the_chance_of_catching_is_counted_right() -> None:
    assert chance_caught(12, cheated=1, drawn=1) == pytest.approx(1 / 12)
    assert chance_caught(100, cheated=5, drawn=20) == pytest.approx(
        1 - math.prod((80 - i) / (100 - i) for i in range(5))
    )
    assert chance_caught(12, cheated=1, drawn=12) == 1.0
    assert chance_caught(3, cheated=4, drawn=1) == 1.0
    assert odds(12, able=12, always=2, drawn=1) == (
        "drawn 1 of 10 segments besides the 2 that always are; would have caught cheating outside those in "
        "1 % (1 of 12) with 10 %, 5 % (1 of 12) with 10 %, 10 % (2 of 12) with 20 % probability"
    )
    assert "; 8 can never be drawn" in odds(12, able=4, always=2, drawn=1)


def test_segments_with_the_first_the_last_and_every_boundary_are_audited_always(bundle: Bundle) -> None:
    # 12 steps with 3 of warm-up, in one phase.
    assert boundaries(bundle) == [1, 4, 12]
    train = {**bundle.trained["train"], "decay_steps": 5}
    edit_json(bundle.folder / "config/train.json", train=train)
    order = bundle.read_json("data/pack/order.json")
    samples = train["micro_batches"] * train["micro_batch"]
    phases = [*order["phases"], {"start": 5 * samples}, {"start": 5 * samples + 1}, {"start": 99 * samples}]
    edit_json(bundle.folder / "data/pack/order.json", phases=phases)
    del bundle.trained
    assert boundaries(bundle) == [1, 4, 6, 8, 12]
    assert expected(SEGMENTS, [1, 20, 21, 240]) == [SEGMENTS[0], SEGMENTS[1], SEGMENTS[-1]]


def test_segments_that_follow_each_other_are_replayed_as_one() -> None:
    first, second, last = SEGMENTS[0], SEGMENTS[1], SEGMENTS[-1]
    assert joined([first, second, last]) == [Segment(0, 40), last]
    assert joined([]) == []


def test_a_machine_that_answers_the_profile_otherwise_cannot_judge(bundle: Bundle) -> None:
    bundle.is_whole, bundle.code = True, ROOT
    profile = bundle.trained["profile"]
    builds = {**profile["builds"], "torch": "9.9"}
    edit_json(bundle.folder / "config/train.json", profile={**profile, "builds": builds})
    del bundle.trained
    with pytest.raises(InconclusiveError, match=r"in another way: builds.torch: 9.9 against \d"):
        audit(bundle)


def test_a_sum_that_depends_on_the_ranks_cannot_be_replayed(bundle: Bundle) -> None:
    edit_json(bundle.folder / "config/train.json", train={**bundle.trained["train"], "sum": "fast"})
    del bundle.trained
    with pytest.raises(UnsupportedError, match=r"train\.sum=fast"):
        audit(bundle)


def test_nothing_is_run_on_a_bundle_that_is_not_whole(bundle: Bundle) -> None:
    bundle.code = ROOT
    with pytest.raises(InconclusiveError, match="not run, since the files"):
        audit(bundle)
