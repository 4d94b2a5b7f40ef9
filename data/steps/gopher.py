"""The rules of Gopher against repetition and for quality (Rae et al. 2021, arXiv:2112.11446, appendix A.1, table A1).

Where we differ: words are told from punctuation and counted in scripts without spaces as data/steps/signals.py says,
and the rules on the length of words and on stop words leave texts that are mostly in such scripts alone; a document is
dropped above a threshold, not at it. Repeated n-grams are counted from the second occurrence on, from left to right, as
datatrove counts them; the paper does not say whether the first occurrence counts.
"""

from dataclasses import dataclass, field

from core.errors import ConfigError
from data.steps.signals import LETTERS_PER_WORD, Signals, repeated
from data.steps.words import unspaced_letters

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
BULLETS = ("•", "-", "*", "‣", "◦", "·")
ELLIPSES = ("...", "…")


@dataclass(kw_only=True, slots=True)
class RepetitionConfig:
    """Field `repetition` of section `clean`, off unless `is_on`. Fractions are table A1's; 1 lets everything pass.

    max_line_frac, max_paragraph_frac            lines and paragraphs that stood before, of all
    max_line_char_frac, max_paragraph_char_frac  their characters, of the text's
    max_top_<n>gram                              characters of the most frequent n-gram, of the text's
    max_repeated_<n>gram                         characters in n-grams that occurred before, of the text's
    """

    is_on: bool = False
    max_line_frac: float = 0.30
    max_paragraph_frac: float = 0.30
    max_line_char_frac: float = 0.20
    max_paragraph_char_frac: float = 0.20
    max_top_2gram: float = 0.20
    max_top_3gram: float = 0.18
    max_top_4gram: float = 0.16
    max_repeated_5gram: float = 0.15
    max_repeated_6gram: float = 0.14
    max_repeated_7gram: float = 0.13
    max_repeated_8gram: float = 0.12
    max_repeated_9gram: float = 0.11
    max_repeated_10gram: float = 0.10


@dataclass(kw_only=True, slots=True)
class QualityConfig:
    """Field `quality` of section `clean`, off unless `is_on`. The values are the paper's, made for English web pages.

    min_words, max_words              words
    min_mean_chars, max_mean_chars    mean length of the words of scripts with spaces
    max_hash_ratio, max_ellipsis_ratio  `#` and ellipses per word
    max_bullet_line_frac              lines that begin with a bullet
    max_ellipsis_line_frac            lines that end with an ellipsis
    min_alpha_word_frac               what has a letter, of all that stands between white space
    min_stop_words, stop_words        how many different ones of these words must occur; give those of the language
    """

    is_on: bool = False
    min_words: int = 50
    max_words: int = 100_000
    min_mean_chars: float = 3.0
    max_mean_chars: float = 10.0
    max_hash_ratio: float = 0.1
    max_ellipsis_ratio: float = 0.1
    max_bullet_line_frac: float = 0.9
    max_ellipsis_line_frac: float = 0.3
    min_alpha_word_frac: float = 0.8
    min_stop_words: int = 2
    stop_words: list[str] = field(default_factory=lambda: list(STOP_WORDS))

    def __post_init__(self) -> None:
        if self.min_stop_words > len(set(self.stop_words)):
            raise ConfigError(
                f"quality.min_stop_words is {self.min_stop_words}, but there are {len(set(self.stop_words))} stop words"
            )


def repetition_reason(signals: Signals, config: RepetitionConfig) -> str:
    """The first rule against repetition that a text breaks, or an empty string."""
    size = max(len(signals.text), 1)
    for name, parts in (("paragraph", signals.paragraphs), ("line", signals.lines)):
        count, chars = repeated(parts)
        if count > getattr(config, f"max_{name}_frac") * len(parts):
            return f"repeated_{name}s"
        if chars > getattr(config, f"max_{name}_char_frac") * size:
            return f"repeated_{name}_chars"
    for n in (2, 3, 4):
        if signals.top_ngram_chars(n) > getattr(config, f"max_top_{n}gram") * size:
            return f"top_{n}gram"
    for n in (5, 6, 7, 8, 9, 10):
        if signals.repeated_ngram_chars(n) > getattr(config, f"max_repeated_{n}gram") * size:
            return f"repeated_{n}grams"
    return ""


def quality_reason(signals: Signals, config: QualityConfig) -> str:
    """The first rule for quality that a text breaks, or an empty string."""
    words, text = signals.words, signals.text
    if len(words) < config.min_words:
        return "gopher_few_words"
    if len(words) > config.max_words:
        return "gopher_many_words"
    if not signals.is_unspaced and (reason := _word_reason(signals, config)):
        return reason
    if text.count("#") > config.max_hash_ratio * len(signals.tokens):
        return "gopher_hashes"
    if sum(map(text.count, ELLIPSES)) > config.max_ellipsis_ratio * len(signals.tokens):
        return "gopher_ellipses"
    bulleted = sum(line.lstrip().startswith(BULLETS) for line in signals.lines)
    if bulleted > config.max_bullet_line_frac * len(signals.lines):
        return "gopher_bullets"
    unfinished = sum(line.rstrip().endswith(ELLIPSES) for line in signals.lines)
    if unfinished > config.max_ellipsis_line_frac * len(signals.lines):
        return "gopher_ellipsis_lines"
    chunks = text.split()
    alphabetic = [chunk for chunk in chunks if chunk[0].isalpha() or any(map(str.isalpha, chunk))]
    more = 0 if signals.is_plain else sum(map(_more_words, alphabetic))
    if len(alphabetic) + more < config.min_alpha_word_frac * (len(chunks) + more):
        return "gopher_not_alphabetic"
    return ""


def _more_words(chunk: str) -> int:
    """How many words more than one stand between two white spaces: a sentence of a script without spaces does."""
    return max(0, unspaced_letters(chunk) // LETTERS_PER_WORD - 1)


def _word_reason(signals: Signals, config: QualityConfig) -> str:
    """The rules that only words between spaces can break."""
    chars, count = sum(map(len, signals.spaced_words)), len(signals.spaced_words)
    if chars < config.min_mean_chars * count:
        return "gopher_short_words"
    if chars > config.max_mean_chars * count:
        return "gopher_long_words"
    if len(set(config.stop_words).intersection(signals.words)) < config.min_stop_words:
        return "gopher_stop_words"
    return ""
