"""What quality rules look at, measured once per text: tokens, lines, repetitions.

A token is a word, a mark of punctuation or a rule of equal ones; in scripts without spaces it is a letter. Since a word
of Chinese or Japanese has about two letters, n-grams of texts that are mostly in such scripts are of 2n letters, a
letter is as wide as two characters, and rules on the length of words do not look at them.

An n-gram can only repeat where both n-grams of one token less repeat that it is made of. So repeated ones are sought
among the places that are left from n - 1, from which most texts soon have none; and since what is compared are numbers
of the two parts, no n-gram is built, and none is taken for another.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from data.steps.words import PLAIN_WORD, WORD, is_plain, unspaced_letters

LETTERS_PER_WORD = 2
_MARKS = r"-+|=+|\.+|\*+|#+|~+|[^\w\s]"
_TOKEN = re.compile(f"{WORD}|{_MARKS}")
_PLAIN_TOKEN = re.compile(f"{PLAIN_WORD}|{_MARKS}")

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Repeats:
    """The n-grams of some width that occur more than once: where they begin, in order, and a number for each.

    Equal n-grams, and only they, have equal numbers.
    """

    places: Numbers
    numbers: Numbers

    def widened(self) -> "Repeats":
        """Those of one token more."""
        is_pair = self.places[1:] == self.places[:-1] + 1
        firsts = self.numbers[:-1][is_pair]
        if len(firsts) < 2:
            return Repeats(firsts[:0], firsts[:0])
        pairs = firsts * (int(self.numbers.max()) + 1) + self.numbers[1:][is_pair]
        order = pairs.argsort()
        is_other = np.ones(len(pairs) + 1, dtype=np.bool_)  # than the one before it in the sorted pairs
        np.not_equal(pairs[order[1:]], pairs[order[:-1]], out=is_other[1:-1])
        numbers = np.empty_like(pairs)
        numbers[order] = is_other[:-1].cumsum()
        is_repeated = np.empty(len(pairs), dtype=np.bool_)
        is_repeated[order] = ~(is_other[:-1] & is_other[1:])
        return Repeats(self.places[:-1][is_pair][is_repeated], numbers[is_repeated])


@dataclass(frozen=True)
class Signals:
    """A text and, measured when first asked for, what rules need of it."""

    text: str

    @cached_property
    def is_plain(self) -> bool:
        """Whether no letters of scripts without spaces are in it; false if that is not known."""
        return is_plain(self.text)

    @cached_property
    def tokens(self) -> list[str]:
        """Words, marks of punctuation, and letters of scripts without spaces."""
        return (_PLAIN_TOKEN if self.is_plain else _TOKEN).findall(self.text)

    @cached_property
    def words(self) -> list[str]:
        """The tokens that are no marks of punctuation."""
        return [token for token in self.tokens if token[0].isalnum() or token[0] == "_"]

    @cached_property
    def spaced_words(self) -> list[str]:
        """The words of scripts with spaces."""
        if self.is_plain:
            return self.words
        return [word for word in self.words if len(word) > 1 or not unspaced_letters(word)]

    @property
    def is_unspaced(self) -> bool:
        """Whether most words are letters of scripts without spaces."""
        return not self.is_plain and 2 * len(self.spaced_words) < len(self.words)

    @cached_property
    def lines(self) -> list[str]:
        """The lines that are not blank."""
        return [line for line in self.text.split("\n") if line and not line.isspace()]

    @cached_property
    def paragraphs(self) -> list[str]:
        """What stands between blank lines."""
        parts = (part.lstrip("\n") for part in self.text.strip().split("\n\n"))
        return [part for part in parts if part]

    @cached_property
    def _ends(self) -> Numbers:
        """Characters of all tokens before each one, and of all."""
        ends = np.zeros(len(self.tokens) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, self.tokens), dtype=np.int64, count=len(self.tokens)), out=ends[1:])
        return ends

    @cached_property
    def _repeats(self) -> list[Repeats]:
        """The repeated n-grams of one token, of two, and so on, as far as they were asked for."""
        distinct = dict.fromkeys(self.tokens)
        known = dict(zip(distinct, range(len(distinct)), strict=True))
        numbers = np.fromiter(map(known.__getitem__, self.tokens), dtype=np.int64, count=len(self.tokens))
        places = np.flatnonzero((np.bincount(numbers) > 1)[numbers])
        return [Repeats(places, numbers[places])]

    def _repeated(self, n: int) -> tuple[Repeats, int]:
        """The repeated n-grams, and how many tokens an n-gram of this text has."""
        width = n * LETTERS_PER_WORD if self.is_unspaced else n
        found = self._repeats
        while len(found) < width and len(found[-1].places):
            found.append(found[-1].widened())
        return found[min(width, len(found)) - 1], width

    def top_ngram_chars(self, n: int) -> int:
        """Characters in all occurrences of the most frequent n-gram, spaces between its tokens included.

        Of equally frequent ones the first counts; an n-gram that occurs once is no repetition.
        """
        repeats, width = self._repeated(n)
        if not len(repeats.places):
            return 0
        counts = np.bincount(repeats.numbers)
        most = int(counts.max())
        start = int(repeats.places[np.argmax(counts[repeats.numbers] == most)])
        spaces = 0 if self.is_unspaced else width - 1
        return most * (int(self._ends[start + width] - self._ends[start]) + spaces)

    def repeated_ngram_chars(self, n: int) -> int:
        """Characters in n-grams that occurred before, found from left to right without overlap."""
        repeats, width = self._repeated(n)
        known, chars, free = set(), 0, 0
        for place, number in zip(repeats.places.tolist(), repeats.numbers.tolist(), strict=True):
            if place < free:
                continue
            if number in known:
                chars += int(self._ends[place + width] - self._ends[place])
                free = place + width
            else:
                known.add(number)
        return chars


def repeated(parts: Sequence[str]) -> tuple[int, int]:
    """How many parts stood before among these parts, and their characters."""
    distinct = set(parts)
    if len(distinct) == len(parts):
        return 0, 0
    return len(parts) - len(distinct), sum(map(len, parts)) - sum(map(len, distinct))
