"""Choosing few of many, in one pass and without regard to their order.

What is chosen is a pure function of the items and a seed, so a page that is made again shows the same documents.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any, Generic, TypeVar

from core.seeds import derive_seed

Item = TypeVar("Item")
Rank = tuple[Any, ...]


class First(Generic[Item]):
    """The `count` items of the least rank among all that are offered; ranks must differ for the choice to be one."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._held: list[tuple[Rank, Item]] = []

    def offer(self, rank: Rank, item: Item) -> None:
        """Consider an item; it is held until enough better ones have come."""
        if len(self._held) < self._count or (self._held and rank < self._held[-1][0]):
            insort(self._held, (rank, item), key=itemgetter(0))
            del self._held[self._count :]

    def __iter__(self) -> Iterator[Item]:
        return (item for _, item in self._held)

    def __len__(self) -> int:
        return len(self._held)


def drawn(seed: int, *names: str | int) -> Rank:
    """A rank that a keyed hash gives, so that the first of many are a fair sample; names settle equal hashes."""
    return derive_seed(seed, "inspect", *names), *map(str, names)


def chosen(items: Iterable[Item], *, count: int, rank: Callable[[Item], Rank]) -> list[Item]:
    """The `count` items of the least rank."""
    return sorted(items, key=rank)[:count]
