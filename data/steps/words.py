"""Words of any script, for steps that compare or count them.

Between white space or punctuation stands a word, except in scripts that put no space between words (Chinese, Japanese,
Thai, Lao, Burmese, Khmer): there each letter counts as one word, so that a page of Chinese does not collapse into
a few very long ones. No dictionary decides, so nothing hangs on a segmenter's version.
"""

import re
import unicodedata

# Characters of English that say as much as a letter of a script without spaces: of 634 pages of LibreOffice's help the
# Chinese ones have 2.5 times fewer characters, what they have in Latin letters included.
WIDTH = 3
# Han with its radicals, iteration marks and extensions, kana, Thai, Lao, Burmese, Khmer.
UNSPACED = (
    "\u0e01-\u0e4e\u0e81-\u0ecd\u1000-\u103f\u1050-\u108f\u1780-\u17d3\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_LETTER = re.compile(f"[{UNSPACED}]")
# Marks that stand on a letter (the vowels of Hindi, the points of Hebrew) are part of its word; `\w` leaves them out.
_MARKS = "".join(
    char
    for char in map(chr, range(0x300, 0x2000))
    if unicodedata.category(char) in ("Mn", "Mc") and not _LETTER.match(char)
)
# A pattern of one word, to be built upon, and what it comes to where `is_plain` holds; that takes 0.7 of the time.
WORD = f"[{UNSPACED}]|(?:[^\\W{UNSPACED}]+[{_MARKS}]*)+"
PLAIN_WORD = r"\w+"
_WORD = re.compile(WORD)
_PLAIN_WORD = re.compile(PLAIN_WORD)
_NOT_PLAIN = re.compile(f"[{UNSPACED}{_MARKS}]")


def words_of(text: str) -> list[str]:
    """The words of a text in its order, without punctuation and white space."""
    return (_PLAIN_WORD if is_plain(text) else _WORD).findall(text)


def is_plain(text: str) -> bool:
    """Whether a text has neither letters of scripts without spaces nor marks that stand on letters."""
    return _NOT_PLAIN.search(text) is None


def unspaced_letters(text: str) -> int:
    """How many letters of scripts without spaces a text has."""
    return len(_LETTER.findall(text))


def spaced_runs(text: str) -> list[str]:
    """What stands between letters of scripts without spaces."""
    return _LETTER.split(text)


def width_of(text: str) -> int:
    """How many characters of English say as much as a text."""
    return len(text) if text.isascii() else len(text) + (WIDTH - 1) * unspaced_letters(text)
