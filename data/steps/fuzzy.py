"""Near-duplicates: which documents are joined by verified pairs, and what survives of those.

Two documents are joined if they share a band of their MinHash signatures and the exact Jaccard similarity of their
shingle sets reaches the threshold. Of each connected component the document that comes first by (source in the order
of precedence, key) survives. So the result is a function of the set of documents: workers, buckets and the order of
reading change nothing. A component may be a chain whose ends are less alike than the threshold; that is the price of
a result without order.

Verifying compares all pairs of documents that share a band and are not joined yet: k documents that share a band but
are no near-duplicates cost k^2/2 comparisons.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations


class Components:
    """Union-find over numbers; the root of a component is its smallest number, whatever the order of joining."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, number: int) -> int:
        """The smallest number that is joined with this one."""
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Put two numbers and all that is joined with them into one component."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parents[high] = low

    def joined(self) -> list[tuple[int, int]]:
        """Every number that is not the root of its component, with that root."""
        roots = ((number, self.root(number)) for number in range(len(self._parents)))
        return [(number, root) for number, root in roots if number != root]


def join_verified(count: int, groups: Iterable[Sequence[int]], is_near: Callable[[int, int], bool]) -> Components:
    """Join, of `count` documents, every pair that stands in a group and is near; each pair is asked for at most once.

    Holds the pairs that were refused.
    """
    components = Components(count)
    refused: set[tuple[int, int]] = set()
    for group in groups:
        for one, other in combinations(sorted(group), 2):
            if (one, other) in refused or components.root(one) == components.root(other):
                continue
            if is_near(one, other):
                components.join(one, other)
            else:
                refused.add((one, other))
    return components
