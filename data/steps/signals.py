"""What quality rules look at, measured once per text: tokens, lines, repetitions.

A token is a word, a mark of punctuation or a rule of equal ones; in scripts without spaces it is a letter. Since a word
of Chinese or Japanese has about two letters, n-grams of texts that are mostly in such scripts are of 2n letters, a
letter is as wide as two characters, and rules on the length of words do not look at them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.steps.words import WORD, unspaced_letters

LETTERS_PER_WORD = 2
_TOKEN = re.compile(rf"{WORD}|-+|=+|\.+|\*+|#+|~+|[^\w\s]")
_ROLL = np.uint64(0x9E3779B97F4A7C15)
_SPREAD = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True)
class Signals:
    """A text and, measured when first asked for, what rules need of it."""

    text: str

    @cached_property
    def tokens(self) -> list[str]:
        """Words, marks of punctuation, and letters of scripts without spaces."""
        return _TOKEN.findall(self.text)

    @cached_property
    def words(self) -> list[str]:
        """The tokens that are no marks of punctuation."""
        return [token for token in self.tokens if token[0].isalnum() or token[0] == "_"]

    @cached_property
    def spaced_words(self) -> list[str]:
        """The words of scripts with spaces."""
        return [word for word in self.words if len(word) > 1 or not unspaced_letters(word)]

    @property
    def is_unspaced(self) -> bool:
        """Whether most words are letters of scripts without spaces."""
        return 2 * len(self.spaced_words) < len(self.words)

    @cached_property
    def lines(self) -> list[str]:
        """The lines that are not blank."""
        return [line for line in self.text.split("\n") if line.strip()]

    @cached_property
    def paragraphs(self) -> list[str]:
        """What stands between blank lines."""
        return [paragraph for paragraph in re.split(r"\n{2,}", self.text.strip()) if paragraph]

    @cached_property
    def _numbers(self) -> NDArray[np.uint64]:
        numbers = {token: number for number, token in enumerate(dict.fromkeys(self.tokens), start=1)}
        return np.fromiter((numbers[token] for token in self.tokens), dtype=np.uint64, count=len(self.tokens)) * _SPREAD

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """Characters of all tokens before each one, and of all."""
        lengths = np.fromiter(map(len, self.tokens), dtype=np.int64, count=len(self.tokens))
        return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])

    def ngrams(self, n: int) -> tuple[NDArray[np.uint64], int]:
        """A hash for every n-gram of the text, and how many tokens it has; a hash is good within this text only."""
        width = n * LETTERS_PER_WORD if self.is_unspaced else n
        count = max(len(self.tokens) - width + 1, 0)
        rolled = np.zeros(count, dtype=np.uint64)
        for start in range(width if count else 0):
            rolled = rolled * _ROLL + self._numbers[start : start + count]
        return rolled, width

    def top_ngram_chars(self, n: int) -> int:
        """Characters in all occurrences of the most frequent n-gram, spaces between its tokens included.

        Of equally frequent ones the first counts; an n-gram that occurs once is no repetition.
        """
        hashes, width = self.ngrams(n)
        if not len(hashes):
            return 0
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        most = int(counts.max())
        if most == 1:
            return 0
        start = int(first[counts == most].min())
        spaces = 0 if self.is_unspaced else width - 1
        return most * (int(self._ends[start + width] - self._ends[start]) + spaces)

    def repeated_ngram_chars(self, n: int) -> int:
        """Characters in n-grams that occurred before, found from left to right without overlap."""
        hashes, width = self.ngrams(n)
        if len(np.unique(hashes)) == len(hashes):
            return 0
        known, chars, place, values = set(), 0, 0, hashes.tolist()
        while place < len(values):
            if values[place] in known:
                chars += int(self._ends[place + width] - self._ends[place])
                place += width
            else:
                known.add(values[place])
                place += 1
        return chars


def repeated(parts: Sequence[str]) -> tuple[int, int]:
    """How many parts stood before among these parts, and their characters."""
    distinct = set(parts)
    return len(parts) - len(distinct), sum(map(len, parts)) - sum(map(len, distinct))
