"""Who computes how many micro-batches: decided by integers alone, and for a slow rank only."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from train.balance import Balance, shares, typical
from train.canonical import contiguous_ranges


@dataclass
class Ranges:
    """Takes note of the ranges that it is given."""

    taken: list[list[tuple[int, int]]] = field(default_factory=list)

    def take_ranges(self, ranges: Sequence[tuple[int, int]]) -> None:
        self.taken.append(list(ranges))


def balance(*times: int, counts: Sequence[int] = (4, 4, 4, 4)) -> tuple[Balance, Ranges]:
    """After a window of three steps in which the ranks took so long for a micro-batch."""
    ranges = Ranges()
    made = Balance(ranges, window=3, counts=list(counts))
    for _ in range(3):
        made.note(times)
        made.end_step()
    return made, ranges


def test_a_rank_four_times_slower_gets_a_quarter_of_the_work() -> None:
    made, ranges = balance(10, 10, 40, 10)
    assert made.counts == [5, 5, 1, 5] and made.is_shifted
    assert ranges.taken == [[(0, 5), (5, 10), (10, 11), (11, 16)]]


def test_ranks_that_differ_as_ranks_do_keep_their_shares() -> None:
    made, ranges = balance(100, 108, 93, 112)
    assert made.counts == [4, 4, 4, 4] and not ranges.taken and not made.is_shifted


def test_of_two_ranks_the_slower_is_slow() -> None:
    assert typical([10, 50]) == [10, 50] and typical([100, 110]) == [100, 100]
    assert balance(10, 50, counts=(2, 2))[0].counts == [3, 1]


def test_a_rank_that_has_recovered_gets_its_work_back() -> None:
    assert balance(10, 10, 10, 10, counts=(5, 5, 1, 5))[0].counts == [4, 4, 4, 4]


def test_one_slow_step_of_three_is_no_slow_rank() -> None:
    made = Balance(Ranges(), window=3, counts=[4, 4])
    for times in ([10, 10], [10, 900], [10, 10]):
        made.note(times)
        made.end_step()
    assert made.counts == [4, 4]


def test_every_rank_keeps_a_micro_batch_so_that_its_recovery_is_seen() -> None:
    assert shares(4, [1, 1, 1000]) == [2, 1, 1]


def test_equal_ranks_share_as_they_do_at_the_start() -> None:
    for count in range(3, 20):
        equal = [last - first for first, last in contiguous_ranges(count, 3)]
        assert sorted(shares(count, [7, 7, 7])) == sorted(equal)
