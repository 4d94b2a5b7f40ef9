"""Near-duplicates: documents joined by verified pairs, of which one survives.

Two documents are joined if they share a band of their MinHash signatures and the exact Jaccard similarity of their
shingle sets reaches the threshold. Of each connected component the document that comes first by (source in the
recipe's order, key) survives. So the result is a function of the set of documents: workers, shards and the order of
reading change nothing. A component may be a chain whose ends are less alike than the threshold; that is the price of
a result without order.

Verifying compares all pairs of a band's bucket that are not joined yet: a bucket of k documents that share a band but
are no near-duplicates costs k^2/2 comparisons.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache, partial
from itertools import combinations

from data.documents import Document
from data.steps.minhash import FuzzyConfig, Hashes, Permutations, bands_of, jaccard_reaches, shingles_of
from data.workers import mapping


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


def near_duplicates(
    documents: Sequence[Document], *, order: Sequence[str], config: FuzzyConfig, workers: int
) -> dict[str, str]:
    """The key of every document that has a near-duplicate before it, and the key of the one that survives for it.

    Keys of `documents` must differ; `order` is that of the sources, the first has precedence.
    """
    rank = {name: index for index, name in enumerate(order)}
    ranked = sorted(documents, key=lambda one: (rank[one.source], one.key))
    with mapping(workers) as mapped:
        bands = list(mapped(partial(_bands, config=config), [one.text for one in ranked]))
    components = join(ranked, bands, config)
    roots = ((number, components.root(number)) for number in range(len(ranked)))
    return {ranked[number].key: ranked[root].key for number, root in roots if root != number}


def join(documents: Sequence[Document], bands: Sequence[Sequence[int]], config: FuzzyConfig) -> Components:
    """Join every pair that shares a band and is verified; documents are named by their place."""
    buckets: defaultdict[int, list[int]] = defaultdict(list)
    for number, hashes in enumerate(bands):
        for band in hashes:
            buckets[band].append(number)
    components = Components(len(documents))
    shingles: dict[int, Hashes] = {}
    refused: set[tuple[int, int]] = set()
    for bucket in buckets.values():
        for pair in combinations(bucket, 2):
            if pair in refused or components.root(pair[0]) == components.root(pair[1]):
                continue
            for number in pair:
                if number not in shingles:
                    shingles[number] = shingles_of(documents[number].text, ngram=config.ngram)
            if jaccard_reaches(shingles[pair[0]], shingles[pair[1]], config.min_jaccard):
                components.join(*pair)
            else:
                refused.add(pair)
    return components


@cache
def _permutations(seed: int, permutations: int) -> Permutations:
    return Permutations.drawn(FuzzyConfig(seed=seed, permutations=permutations, bands=1))


def _bands(text: str, *, config: FuzzyConfig) -> list[int]:
    return bands_of(text, config, _permutations(config.seed, config.permutations))
