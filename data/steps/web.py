"""The rules of C4 and FineWeb for web pages.

C4 (Raffel et al. 2020, JMLR 21:140, section 2.2, and the lines on cookies and long words of its published code) takes
lines out of a text and drops pages. FineWeb (Penedo et al. 2024, arXiv:2406.17557, section 3.6) drops pages.

Where we differ: C4's list of bad words is not used; sentences are counted by their terminal marks, not by a trained
splitter; marks of Chinese and Japanese end sentences and lines too; a line of scripts without spaces has as many words
as letters and is as wide as three times its letters. FineWeb's threshold for repeated lines is the paper's 0.1;
datatrove's default is 0.01.
"""

import re
from dataclasses import dataclass, field

from core.errors import ConfigError
from data.steps.signals import Signals, repeated
from data.steps.words import unspaced_letters, width_of

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_SENTENCE_END = re.compile("[.!?]+[\"'”\u2019)]*(?=\\s|$)|[。\uff01\uff1f\uff0e｡]+")
POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
TERMINALS = ".?!\"'" + "。\uff01\uff1f\uff0e｡”\u2019」』"
STOPS = ".?!" + "。\uff01\uff1f\uff0e｡؟\u06d4।॥"
_STOPS = tuple(STOPS)


@dataclass(kw_only=True, slots=True)
class C4Config:
    """Field `c4` of section `clean`, off unless `is_on`. What is taken out are lines; 0 words or sentences: no rule.

    terminals          a line stays only if it ends with one of these characters, and not with an ellipsis; empty: all
    min_line_words     a line of fewer words is taken out
    max_word_chars     a line with a longer word is taken out
    refused_lines      a line with one of these is taken out (letter case does not count)
    refused            a page with one of these is dropped
    has_citations      false: marks such as [12] and [citation needed] are taken out
    min_sentences      a page with fewer sentences in the lines that stay is dropped
    """

    is_on: bool = False
    terminals: str = TERMINALS
    min_line_words: int = 3
    max_word_chars: int = 1000
    refused_lines: list[str] = field(default_factory=lambda: ["javascript", *POLICY])
    refused: list[str] = field(default_factory=lambda: ["lorem ipsum", "{"])
    has_citations: bool = False
    min_sentences: int = 5


@dataclass(kw_only=True, slots=True)
class FinewebConfig:
    """Field `fineweb` of section `clean`, off unless `is_on`.

    min_stop_line_frac   lines that end with a mark that ends sentences
    max_short_line_frac  lines that are at most `short_line_chars` wide
    max_repeated_frac    characters of lines that stood before, of those of all lines
    max_line_token_ratio  line ends per word or mark of punctuation
    """

    is_on: bool = False
    min_stop_line_frac: float = 0.12
    max_short_line_frac: float = 0.67
    short_line_chars: int = 30
    max_repeated_frac: float = 0.1
    max_line_token_ratio: float = 0.3

    def __post_init__(self) -> None:
        for name in ("min_stop_line_frac", "max_short_line_frac", "max_repeated_frac"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"fineweb.{name} is {getattr(self, name)}; give a fraction from 0 to 1")


def c4_lines(text: str, config: C4Config) -> tuple[str, str]:
    """What C4 leaves of a text, and why the page is dropped (empty: it is not); a dropped page stays as it was."""
    lowered = text.lower()
    if any(phrase in lowered for phrase in config.refused):
        return text, "c4_refused"
    # Most pages have no refused phrase at all; then no line is searched for one.
    phrases = [phrase for phrase in config.refused_lines if phrase in lowered]
    endings = tuple(config.terminals)
    kept = [line for line in (_c4_line(line, config, phrases, endings) for line in text.split("\n")) if line]
    sentences = 0
    for line in kept:
        if sentences >= config.min_sentences:
            break
        sentences += len(_SENTENCE_END.findall(line))
    return ("\n".join(kept), "") if sentences >= config.min_sentences else (text, "c4_few_sentences")


def _c4_line(line: str, config: C4Config, phrases: list[str], endings: tuple[str, ...]) -> str:
    """A line as it stays, or an empty one."""
    line = line.strip()
    words = line.split()
    if len(line) > config.max_word_chars and any(len(word) > config.max_word_chars for word in words):
        return ""
    if not config.has_citations and "[" in line:
        line = _CITATION.sub("", line).strip()
    if endings and (not line.endswith(endings) or line.endswith("...")):
        return ""
    if len(words) < config.min_line_words and unspaced_letters(line) < config.min_line_words:
        return ""
    return "" if phrases and any(phrase in line.lower() for phrase in phrases) else line


def fineweb_reason(signals: Signals, config: FinewebConfig) -> str:
    """The first rule of FineWeb that a text breaks, or an empty string."""
    lines = signals.lines
    if sum(line.rstrip().endswith(_STOPS) for line in lines) < config.min_stop_line_frac * len(lines):
        return "fineweb_stops"
    widths = map(len, lines) if signals.is_plain else map(width_of, lines)
    short = sum(width <= config.short_line_chars for width in widths)
    if short > config.max_short_line_frac * len(lines):
        return "fineweb_short_lines"
    if repeated(lines)[1] > config.max_repeated_frac * sum(map(len, lines)):
        return "fineweb_repeated_lines"
    if signals.text.count("\n") > config.max_line_token_ratio * len(signals.tokens):
        return "fineweb_list"
    return ""
