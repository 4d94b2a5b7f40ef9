"""A keyed permutation of 0..n-1 that needs no memory: where an item goes is computed, not looked up.

A balanced Feistel network over the smallest even number of bits that holds n, with cycle walking: what falls outside
0..n-1 is put in again until it falls inside (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", method
3). The domain is below 4n, so a walk is under 4 rounds on average. The round function is the finalizer of splitmix64
(Steele, Lea and Flood 2014). Everything is integer arithmetic on 64 bits: the same on every machine and in every
version of numpy. It shuffles; it is no cipher.

Why not an affine map i -> a*i + b mod n: neighbours stay a constant distance apart, so batches repeat their company.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.seeds import Name, random_bytes

ROUNDS = 6
MASK = (1 << 64) - 1
GAMMA, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

Words = NDArray[np.uint64]


class Permutation:
    """The permutation of 0..size-1 under round keys of 64 bits."""

    __slots__ = ("_half", "_keys", "_mask", "size")

    def __init__(self, size: int, keys: tuple[int, ...]) -> None:
        assert size > 0, "a permutation of nothing has no use"
        self.size = size
        self._half = (max(2, (size - 1).bit_length()) + 1) // 2
        self._mask = (1 << self._half) - 1
        self._keys = keys

    def __call__(self, item: int) -> int:
        """Where an item of 0..size-1 goes."""
        assert 0 <= item < self.size, f"{item} is not in 0..{self.size - 1}"
        while True:
            left, right = item >> self._half, item & self._mask
            for key in self._keys:
                left, right = right, left ^ (_mix(right ^ key) & self._mask)
            item = left << self._half | right
            if item < self.size:
                return item

    def inverse(self, place: int) -> int:
        """Which item goes to a place of 0..size-1."""
        assert 0 <= place < self.size, f"{place} is not in 0..{self.size - 1}"
        while True:
            left, right = place >> self._half, place & self._mask
            for key in reversed(self._keys):
                left, right = right ^ (_mix(left ^ key) & self._mask), left
            place = left << self._half | right
            if place < self.size:
                return place

    def many(self, items: Words) -> Words:
        """Where many items of 0..size-1 go, in their order."""
        places = np.empty_like(items)
        open_at = np.arange(items.size)
        while items.size:
            items = self._encrypt(items)
            is_inside = items < np.uint64(self.size)
            places[open_at[is_inside]] = items[is_inside]
            items, open_at = items[~is_inside], open_at[~is_inside]
        return places

    def _encrypt(self, items: Words) -> Words:
        half, mask = np.uint64(self._half), np.uint64(self._mask)
        left, right = items >> half, items & mask
        for key in self._keys:
            left, right = right, left ^ (_mix_many(right ^ np.uint64(key)) & mask)
        return left << half | right


@lru_cache(maxsize=256)
def keyed(size: int, seed: int, *names: Name) -> Permutation:
    """The permutation of 0..size-1 of a seed and names; other names give an independent one."""
    keys = random_bytes(seed, "permutation", *names, count=8 * ROUNDS)
    return Permutation(size, tuple(int.from_bytes(keys[at : at + 8], "little") for at in range(0, 8 * ROUNDS, 8)))


def _mix(word: int) -> int:
    word = (word + GAMMA) & MASK
    word = ((word ^ word >> 30) * FIRST) & MASK
    word = ((word ^ word >> 27) * SECOND) & MASK
    return word ^ word >> 31


def _mix_many(words: Words) -> Words:
    words = words + np.uint64(GAMMA)  # arrays wrap at 64 bits, without a warning
    words = (words ^ words >> np.uint64(30)) * np.uint64(FIRST)
    words = (words ^ words >> np.uint64(27)) * np.uint64(SECOND)
    return words ^ words >> np.uint64(31)
