"""The canonical sum: the one order in which what the micro-batches of a step give is added.

A step has values 0..M-1. Two neighbours are added when they are siblings in the binary tree over the index; if M is
not a power of two, the subtrees that are left are folded from right to left:

    M = 8    ((0 1)(2 3)) ((4 5)(6 7))
    M = 11   (((0 1)(2 3)) ((4 5)(6 7))) + ((8 9) + 10)

A BinaryCounter does this as the values come, holding one partial sum a level. Whoever holds a contiguous range of the
index gets the largest whole subtrees inside the range, and pushing the subtrees of all ranges in order into another
counter gives the same tree: the split over ranks cannot be seen in the result. The left operand of an addition is
always the lower index.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import add
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Subtree(Generic[Value]):
    """The sum of the values start .. start + 2^level - 1."""

    start: int
    level: int
    value: Value

    @property
    def end(self) -> int:
        """The index behind the last value."""
        return self.start + (1 << self.level)


class BinaryCounter(Generic[Value]):
    """Adds a contiguous range of values, pushed in the order of their index, by the canonical tree.

    `plus(left, right)` may add in place into `left`: the counter does not use either operand again. A value pushed
    at an even index lives on as a left operand, so it must not be a view of a buffer that is reused.
    """

    def __init__(self, plus: Callable[[Value, Value], Value]) -> None:
        self._plus = plus
        self.subtrees: list[Subtree[Value]] = []

    def push(self, start: int, value: Value, *, level: int = 0) -> None:
        """Add the next value, or the sum of a whole subtree."""
        new = Subtree(start, level, value)
        while self.subtrees and _are_siblings(self.subtrees[-1], new):
            left = self.subtrees.pop()
            new = Subtree(left.start, left.level + 1, self._plus(left.value, new.value))
        self.subtrees.append(new)

    def total(self) -> Value:
        """The sum of everything pushed; the counter is empty afterwards."""
        value = self.subtrees.pop().value
        while self.subtrees:
            value = self._plus(self.subtrees.pop().value, value)
        return value


def _are_siblings(left: Subtree[Value], right: Subtree[Value]) -> bool:
    is_aligned = left.start % (1 << (left.level + 1)) == 0
    return left.level == right.level and left.end == right.start and is_aligned


def whole_subtrees(first: int, last: int) -> list[tuple[int, int]]:
    """(start, level) of the subtrees that a counter holds after the values first .. last - 1."""
    counter: BinaryCounter[None] = BinaryCounter(lambda left, right: None)
    for index in range(first, last):
        counter.push(index, None)
    return [(subtree.start, subtree.level) for subtree in counter.subtrees]


def tree_sum(values: Sequence[float]) -> float:
    """Canonical sum of doubles."""
    counter: BinaryCounter[float] = BinaryCounter(add)
    for index, value in enumerate(values):
        counter.push(index, value)
    return counter.total()


def contiguous_ranges(count: int, parts: int) -> list[tuple[int, int]]:
    """Split 0 .. count - 1 into contiguous parts (first, last + 1) whose sizes differ by at most one."""
    return [(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
