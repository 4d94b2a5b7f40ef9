import numpy as np
import pytest

from data.permutation import Permutation, keyed


@pytest.mark.parametrize("size", [*range(1, 70), 255, 256, 257, 4096, 4097])
def test_every_item_goes_to_its_own_place_and_back(size: int) -> None:
    permutation = keyed(size, 12345, "test")
    places = [permutation(item) for item in range(size)]
    assert sorted(places) == list(range(size))
    assert [permutation.inverse(place) for place in places] == list(range(size))
    assert permutation.many(np.arange(size, dtype=np.uint64)).tolist() == places


def test_a_large_range_is_covered_exactly_once() -> None:
    size = 300_007
    places = keyed(size, 7, "test").many(np.arange(size, dtype=np.uint64))
    assert np.bincount(places.astype(np.int64), minlength=size).tolist() == [1] * size


@pytest.mark.parametrize("size", [10**12 + 39, 2**40 + 1, 2**61])
def test_items_of_a_huge_range_come_back_and_scalar_equals_vectorised(size: int) -> None:
    permutation = keyed(size, 3, "test")
    items = [0, 1, 10**11, size // 2, size - 1]
    places = [permutation(item) for item in items]
    assert [permutation.inverse(place) for place in places] == items
    assert permutation.many(np.array(items, dtype=np.uint64)).tolist() == places
    assert all(0 <= place < size for place in places)


def test_the_smallest_network_is_as_computed_by_hand() -> None:
    # Size 4 is two bits, halves of one bit. The finalizer of splitmix64 on 0 and on 1 gives (published test values)
    # 0xE220A8397B1DCDAF and 0x910A2DEC89025CC1, both odd. So with round key 0 every round maps
    # (left, right) to (right, left ^ 1); two rounds flip both bits: 0 -> 3, 1 -> 2, 2 -> 1, 3 -> 0.
    permutation = Permutation(4, (0, 0))
    assert [permutation(item) for item in range(4)] == [3, 2, 1, 0]
    # Of three items, 0 goes to 3, which is outside, and is put in again: 3 -> 0.
    assert [Permutation(3, (0, 0))(item) for item in range(3)] == [0, 2, 1]


def test_the_permutation_is_the_one_that_was_published() -> None:
    assert [keyed(10, 1, "window", "alpha", 0)(item) for item in range(10)] == [4, 2, 9, 8, 5, 7, 1, 0, 6, 3]
    assert keyed(10**9, 1, "window", "alpha", 0)(123_456_789) == 429_220_908


def test_another_seed_or_name_gives_another_permutation() -> None:
    items = np.arange(1000, dtype=np.uint64)
    first = keyed(1000, 1, "window", "alpha", 0).many(items)
    others = [
        keyed(1000, 2, "window", "alpha", 0),
        keyed(1000, 1, "window", "beta", 0),
        keyed(1000, 1, "window", "alpha", 1),
    ]
    for other in others:
        # two independent permutations agree in one place on average
        assert np.count_nonzero(first == other.many(items)) < 10


def test_neighbours_do_not_keep_their_distance_as_an_affine_map_would_have_them() -> None:
    size = 10_007
    places = keyed(size, 5, "test").many(np.arange(size, dtype=np.uint64)).astype(np.int64)
    affine = np.arange(size, dtype=np.int64) * 4999 % size
    assert len(np.unique(np.diff(affine))) == 2
    assert len(np.unique(np.diff(places))) > size // 2
    # the mean distance of two random places is a third of the range
    assert abs(np.abs(np.diff(places)).mean() / size - 1 / 3) < 0.01
