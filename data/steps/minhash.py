"""MinHash signatures of word n-grams and their bands: which documents may be nearly equal.

Broder 1997 (permuted minima) and Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4 (banding). The
defaults are FineWeb's: 5-grams, 112 permutations in 14 bands of 8 rows (Penedo et al. 2024, arXiv:2406.17557,
section 3.4), under which a pair of Jaccard similarity 0.75 shares a band with probability 0.77, and one of 0.85 with
0.99. Where we differ: candidates are verified by their exact similarity (data/cleaning/near.py), since of the pairs
that share a band more than half may be no near-duplicates; words of scripts without spaces are single letters
(data/steps/words.py); a permutation is a multiplication, an addition and a shift of 64-bit integers, not a modulus by
a Mersenne prime.

All arithmetic is in integers modulo 2^64, so the bits are equal on every machine.
"""

from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from core.errors import ConfigError
from core.seeds import random_bytes
from data.steps.words import words_of

Hashes = NDArray[np.uint64]

CHUNK_SHINGLES = 2048
_ROLL = np.uint64(0x9E3779B97F4A7C15)
_SPREAD = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(kw_only=True, slots=True)
class FuzzyConfig:
    """Field `fuzzy` of section `clean`: near-duplicates, off unless `is_on`.

    ngram         words in a shingle
    permutations  minima in a signature, a multiple of `bands`
    bands         documents that agree in all minima of a band are compared exactly
    min_jaccard   similarity of the shingle sets from which on two documents are near-duplicates
    """

    is_on: bool = False
    seed: int = 0
    ngram: int = 5
    permutations: int = 112
    bands: int = 14
    min_jaccard: float = 0.75

    def __post_init__(self) -> None:
        for name in ("ngram", "permutations", "bands"):
            if getattr(self, name) < 1:
                raise ConfigError(f"fuzzy.{name} is {getattr(self, name)}; give at least 1")
        if self.permutations % self.bands:
            raise ConfigError(f"fuzzy.permutations {self.permutations} is no multiple of {self.bands} bands")
        if not 0 < self.min_jaccard <= 1:
            raise ConfigError(f"fuzzy.min_jaccard is {self.min_jaccard}; give more than 0 and at most 1")


@dataclass(frozen=True, slots=True)
class Permutations:
    """The odd factors and the addends of every permutation, drawn from the seed."""

    factors: Hashes
    addends: Hashes

    @classmethod
    def drawn(cls, config: FuzzyConfig) -> "Permutations":
        """The permutations of a configuration."""
        drawn = [
            np.frombuffer(random_bytes(config.seed, "minhash", name, count=8 * config.permutations), dtype="<u8")
            for name in ("factors", "addends")
        ]
        return cls(drawn[0].astype(np.uint64) | np.uint64(1), drawn[1].astype(np.uint64))


def shingles_of(text: str, *, ngram: int) -> Hashes:
    """The distinct hashes of the word n-grams of a text, sorted; a shorter text has one, of all its words.

    Letter case and what is no word do not count. Two different n-grams share a hash with probability 2^-64.
    """
    words = words_of(text.lower())
    width = min(ngram, len(words))
    if not width:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.fromiter((xxhash.xxh3_64_intdigest(word.encode()) for word in words), dtype=np.uint64, count=len(words))
    count = len(words) - width + 1
    rolled = np.full(count, width, dtype=np.uint64)
    for start in range(width):
        rolled = rolled * _ROLL + hashes[start : start + count]
    return np.unique((rolled ^ (rolled >> np.uint64(29))) * _SPREAD)


def signature(shingles: Hashes, permutations: Permutations) -> Hashes:
    """The smallest value of every permutation over a set of shingles that is not empty."""
    least = np.full(len(permutations.factors), np.iinfo(np.uint64).max, dtype=np.uint64)
    for start in range(0, len(shingles), CHUNK_SHINGLES):
        values = shingles[start : start + CHUNK_SHINGLES, None] * permutations.factors + permutations.addends
        values ^= values >> np.uint64(32)
        np.minimum(least, values.min(axis=0), out=least)
    return least


def bands_of(shingles: Hashes, config: FuzzyConfig, permutations: Permutations) -> Hashes:
    """One hash per band of the signature of a text's shingles; none for a text without words."""
    if not len(shingles):
        return np.zeros(0, dtype=np.uint64)
    rows = signature(shingles, permutations).astype("<u8").reshape(config.bands, -1)
    hashes = (xxhash.xxh3_64_intdigest(band.to_bytes(4, "little") + row.tobytes()) for band, row in enumerate(rows))
    return np.fromiter(hashes, dtype=np.uint64, count=config.bands)


def jaccard_reaches(one: Hashes, other: Hashes, least: float) -> bool:
    """Whether the similarity of two sets of shingles, shared over all, is at least `least`."""
    small, large = sorted((len(one), len(other)))
    if not large or small < least * large:  # the similarity is at most small / large
        return False
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared >= least * (small + large - shared)
