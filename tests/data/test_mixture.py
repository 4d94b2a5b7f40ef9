import random
from collections.abc import Sequence
from itertools import accumulate

import pytest

from core.errors import ConfigError
from data.mixture import Mixture, Phase, assign_chairs

WEIGHTS = [(2, 3, 2, 2), (1, 1), (5, 3), (97, 2, 1), (5270, 2990, 1150, 583, 7), (1,) * 9, (10, 1, 1, 1, 1, 1)]


def is_within_bound(table: Sequence[int], weights: Sequence[int]) -> bool:
    """|n w_k / W - drawn_k| <= 1 - 1/(2K-2) at every prefix n, in integers."""
    period, slack = sum(weights), 2 * len(weights) - 2
    drawn = [list(accumulate(source == k for source in table)) for k in range(len(weights))]
    return all(
        abs(n * weight - drawn[k][n - 1] * period) * slack <= period * (slack - 1)
        for n in range(1, len(table) + 1)
        for k, weight in enumerate(weights)
    )


def test_small_tables_are_as_computed_by_hand() -> None:
    assert assign_chairs([3]) == [0, 0, 0]
    assert assign_chairs([1, 1]) == [0, 1]
    # Place 1: source 0 is 2/3 behind, source 1 only 1/3, which is under 1/2. Place 2: 1/3 and 2/3. Place 3: 1 and 0.
    assert assign_chairs([2, 1]) == [0, 1, 0]
    assert assign_chairs([1, 1, 1]) == [0, 1, 2]
    assert assign_chairs([0, 2, 0]) == [1, 1]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_no_source_is_ever_further_from_its_share_than_the_bound(weights: tuple[int, ...]) -> None:
    table = assign_chairs(weights)
    assert [table.count(source) for source in range(len(weights))] == list(weights)
    assert is_within_bound(table, weights)


def test_blocks_and_random_draws_break_the_bound() -> None:
    weights = (20, 30, 20, 20)
    blocks = [source for source, weight in enumerate(weights) for _ in range(weight)]
    shuffled = random.Random(1).sample(blocks, len(blocks))
    assert not is_within_bound(blocks, weights)
    assert not is_within_bound(shuffled, weights)


def test_a_source_counts_its_own_draws_without_a_gap() -> None:
    mixture = Mixture([Phase(start=0, weights=(2, 3, 2, 2))])
    drawn = [0, 0, 0, 0]
    for sample in range(100):
        assert mixture.counts(sample) == drawn
        source, number = mixture.draw(sample)
        assert number == drawn[source]
        drawn[source] += 1
    # the first place of a period is source 1's, which has given 3 in each period before
    assert mixture.draw(9 * 10**15) == (1, 3 * 10**15)


def test_phases_begin_where_they_say_and_carry_the_draws_over() -> None:
    phases = [
        Phase(start=0, weights=(1, 1, 0)),
        Phase(start=7, weights=(1, 2, 3)),
        Phase(start=20, weights=(0, 0, 1)),
    ]
    mixture = Mixture(phases)
    drawn = [0, 0, 0]
    for sample in range(40):
        assert mixture.counts(sample) == drawn
        source, number = mixture.draw(sample)
        assert number == drawn[source]
        assert phases[(sample >= 7) + (sample >= 20)].weights[source] > 0
        drawn[source] += 1
    assert mixture.counts(7) == [4, 3, 0]


def test_only_the_ratio_of_weights_matters() -> None:
    one, other = (Mixture([Phase(start=0, weights=weights)]) for weights in ((2, 3), (200, 300)))
    assert [one.draw(sample) for sample in range(50)] == [other.draw(sample) for sample in range(50)]
    changed = Mixture([Phase(start=0, weights=(3, 2))])
    assert [one.draw(sample) for sample in range(50)] != [changed.draw(sample) for sample in range(50)]


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ([Phase(start=0, weights=(1, -1))], "0 or more"),
        ([Phase(start=0, weights=(0, 0))], "one above 0"),
        ([Phase(start=5, weights=(1,))], "first must start at 0"),
        ([Phase(start=0, weights=(1,)), Phase(start=0, weights=(1,))], "others later"),
        ([Phase(start=0, weights=(99_999, 100_000))], "coarser"),
        ([], "first must start at 0"),
    ],
)
def test_what_is_no_mixture_is_refused(phases: list[Phase], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Mixture(phases)
