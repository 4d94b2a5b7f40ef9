"""Filters: each looks at one normalized text and has a reason under which it drops.

The thresholds are recipe settings, since no values suit every language and genre: the usual ones for English web prose
(Rae et al. 2021, arXiv:2112.11446, table A1) keep about a quarter of a corpus of manuals. A word is what stands
between white space, so for Chinese, Japanese and Thai `min_words` should be 0 and `max_word_chars` large.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np

from core.errors import ConfigError
from data.steps.words import spaced_runs, unspaced_letters, width_of, words_of

EMPTY = "empty"
BMP = 0xFFFF


@dataclass(kw_only=True, slots=True)
class FilterConfig:
    """Field `filters` of section `clean`. A fraction of 1 and a minimum of 0 let everything pass.

    min_chars               characters of the text; a letter of a script without spaces counts as three
    min_words               words of the text
    max_word_chars          characters of the longest word (keys, tables and dumps without spaces have long ones)
    max_symbol_frac         characters that are neither letter, mark, digit, punctuation nor white space
    max_digit_frac          digits among the characters that are not white space
    max_repeated_line_frac  characters of lines that stood in the text before
    max_replaced_frac       U+FFFD, which stands for what could not be decoded
    refused                 patterns by name; a text in which one is found is dropped under `refused_<name>`
    """

    min_chars: int = 50
    min_words: int = 5
    max_word_chars: int = 200
    max_symbol_frac: float = 0.3
    max_digit_frac: float = 0.5
    max_repeated_line_frac: float = 0.5
    max_replaced_frac: float = 0.0
    refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("max_symbol_frac", "max_digit_frac", "max_repeated_line_frac", "max_replaced_frac"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"filters.{name} is {getattr(self, name)}; give a fraction from 0 to 1")
        for name, pattern in self.refused.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"filters.refused.{name} {pattern!r} is not a pattern: {error}; write it as for re.search"
                ) from error


Filter = Callable[[str, FilterConfig], bool]


def symbol_frac(text: str) -> float:
    """Characters that are neither letter, mark, digit, punctuation nor white space, over all characters."""
    symbols = sum(count for char, count in characters(text) if _is_symbol(char))
    return symbols / max(len(text), 1)


def digit_frac(text: str) -> float:
    """Digits over the characters that are not white space."""
    counts = characters(text)
    total = sum(count for char, count in counts if not char.isspace())
    return sum(count for char, count in counts if char.isdigit()) / max(total, 1)


@lru_cache(maxsize=1)
def characters(text: str) -> Sequence[tuple[str, int]]:
    """Every character of a text and how often it occurs; the last text's are kept, since two filters ask for them."""
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
    if codes.max(initial=0) > BMP:  # a place for every code point up to an emoji would cost more than it saves
        return list(Counter(text).items())
    counts = np.bincount(codes)
    found = np.flatnonzero(counts)
    return list(zip(map(chr, found.tolist()), counts[found].tolist(), strict=True))


@cache
def _is_symbol(char: str) -> bool:
    return unicodedata.category(char)[0] in "SC" and not char.isspace()


def repeated_line_frac(text: str) -> float:
    """Characters of lines that stood in the text before, over those of all lines; ends of lines do not count.

    Counted in characters and not in lines: in a play the short lines with the speaker's name repeat.
    """
    lines = [line.strip() for line in text.split("\n")]
    total = sum(map(len, lines))
    return (total - sum(map(len, set(lines)))) / max(total, 1)


def words_between_spaces(text: str) -> list[str]:
    """What stands between white space; for a text mostly in scripts without spaces its words, letter by letter."""
    words = text.split()
    return words_of(text) if 2 * unspaced_letters(text) > sum(map(len, words)) else words


def longest_word(text: str) -> int:
    """Characters of the longest word; a sentence of a script without spaces is none, in no text."""
    return max((len(run) for word in words_between_spaces(text) for run in spaced_runs(word)), default=0)


# In the order in which they are asked; the first that drops gives the reason.
FILTERS: dict[str, Filter] = {
    EMPTY: lambda text, _: not text.strip(),
    "too_few_chars": lambda text, config: len(text) < config.min_chars and width_of(text) < config.min_chars,
    "too_few_words": lambda text, config: (
        len(text.split()) < config.min_words and len(words_between_spaces(text)) < config.min_words
    ),
    "long_word": lambda text, config: (
        max(map(len, text.split())) > config.max_word_chars and longest_word(text) > config.max_word_chars
    ),
    "undecoded": lambda text, config: text.count("\ufffd") > config.max_replaced_frac * len(text),
    "symbols": lambda text, config: symbol_frac(text) > config.max_symbol_frac,
    "digits": lambda text, config: digit_frac(text) > config.max_digit_frac,
    "repeated_lines": lambda text, config: repeated_line_frac(text) > config.max_repeated_line_frac,
}


def drop_reason(text: str, config: FilterConfig) -> str:
    """Why a normalized text is dropped: the name of the first filter that wants it out, or an empty string."""
    for reason, is_unwanted in FILTERS.items():
        if is_unwanted(text, config):
            return reason
    refused = (name for name, pattern in config.refused.items() if re.search(pattern, text))
    name = next(refused, "")
    return f"refused_{name}" if name else ""
