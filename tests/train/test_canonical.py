"""The order of the canonical sum, written out by hand, and that no split over ranks can be seen in it."""

from itertools import pairwise, product

import pytest

from train.canonical import BinaryCounter, contiguous_ranges, tree_sum, whole_subtrees

TREES = {
    1: "0",
    2: "(0 1)",
    3: "((0 1) 2)",
    4: "((0 1) (2 3))",
    5: "(((0 1) (2 3)) 4)",
    6: "(((0 1) (2 3)) (4 5))",
    7: "(((0 1) (2 3)) ((4 5) 6))",
    8: "(((0 1) (2 3)) ((4 5) (6 7)))",
    9: "((((0 1) (2 3)) ((4 5) (6 7))) 8)",
    10: "((((0 1) (2 3)) ((4 5) (6 7))) (8 9))",
    11: "((((0 1) (2 3)) ((4 5) (6 7))) ((8 9) 10))",
}


def joined(left: str, right: str) -> str:
    return f"({left} {right})"


def tree(count: int) -> str:
    counter: BinaryCounter[str] = BinaryCounter(joined)
    for index in range(count):
        counter.push(index, str(index))
    return counter.total()


@pytest.mark.parametrize("count", TREES)
def test_the_order_is_the_one_written_by_hand(count: int) -> None:
    assert tree(count) == TREES[count]


@pytest.mark.parametrize(("count", "parts"), [pair for pair in product(range(1, 20), repeat=2) if pair[1] <= pair[0]])
def test_contiguous_ranges_of_any_size_give_the_same_tree(count: int, parts: int) -> None:
    whole: BinaryCounter[str] = BinaryCounter(joined)
    for first, last in contiguous_ranges(count, parts):
        own: BinaryCounter[str] = BinaryCounter(joined)
        for index in range(first, last):
            own.push(index, str(index))
        assert [(subtree.start, subtree.level) for subtree in own.subtrees] == whole_subtrees(first, last)
        for subtree in own.subtrees:
            whole.push(subtree.start, subtree.value, level=subtree.level)
    assert whole.total() == tree(count)


def test_an_unaligned_range_keeps_its_ends_apart() -> None:
    assert whole_subtrees(3, 11) == [(3, 0), (4, 2), (8, 1), (10, 0)]


def test_a_counter_holds_one_partial_sum_a_level() -> None:
    counter: BinaryCounter[float] = BinaryCounter(lambda left, right: left + right)
    for index in range(1000):
        counter.push(index, 1.0)
        assert len(counter.subtrees) <= (index + 1).bit_length()
    assert counter.total() == 1000.0


def test_a_counter_is_empty_after_its_total() -> None:
    counter: BinaryCounter[float] = BinaryCounter(lambda left, right: left + right)
    for _ in range(2):
        for index in range(3):
            counter.push(index, float(index))
        assert counter.total() == 3.0


def test_the_tree_differs_from_adding_in_a_row() -> None:
    values = [1e16, 1.0, 1.0, 1.0]
    assert tree_sum(values) == (1e16 + 1.0) + (1.0 + 1.0) == 1e16 + 2
    assert sum(values) in (1e16, 1e16 + 4)


def test_ranges_cover_everything_once_and_differ_by_at_most_one() -> None:
    ranges = contiguous_ranges(11, 4)
    assert ranges == [(0, 2), (2, 5), (5, 8), (8, 11)]
    assert all(left[1] == right[0] for left, right in pairwise(ranges))
