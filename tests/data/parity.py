"""Our rules of Gopher, C4 and FineWeb held against datatrove's filters, with a cause for every difference.

Both follow the same papers but define some things otherwise: what a token is, which lines count, and so on. Each rule
set is written here a second time, plainly and slowly, with a switch for every definition in which the two differ. With
all switches at ours the plain form must decide as our code does, with all at theirs as datatrove does; then the list of
differences is complete, and the cause of a disagreement is the smallest set of switches that turns our decision into
theirs. What the plain form cannot follow is unexplained.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain, combinations

from datatrove.data import Document as Peer
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION, split_into_sentences, split_into_words

from data.steps.gopher import BULLETS, ELLIPSES, QualityConfig, RepetitionConfig, quality_reason, repetition_reason
from data.steps.signals import Signals
from data.steps.web import POLICY, STOPS, TERMINALS, C4Config, FinewebConfig, c4_lines, fineweb_reason
from data.steps.words import unspaced_letters

TOKENS = "datatrove's tokens are spaCy's: its rules cut abbreviations, elisions, rules of marks and Chinese otherwise"
LETTERS = "datatrove knows no scripts without spaces: letters are not words, n-grams have n tokens, all rules apply"
ONCE = "datatrove takes an n-gram that occurs once for the most frequent one"
JOINED = "datatrove compares n-grams without the bounds of their tokens"
LINES = "datatrove counts blank lines"
MARKS = "datatrove's words are tokens with a character that is no punctuation: also signs such as $, + and |"
BULLET = "datatrove knows two bullets, we six"
CHUNKS = "datatrove asks for a letter in 80 % of all tokens, also of marks, not of what stands between spaces"
STOP_MARKS = "datatrove knows marks of more scripts that end a line"
ENDS = "datatrove leaves the white space at the end of a line"
ORDER = "datatrove looks for { and lorem ipsum only in lines that it would keep"
STRIP = "datatrove leaves white space where it takes a citation out"
TERMINAL = "datatrove ends lines with . ! ? \" ' only"
SENTENCES = "datatrove's sentences are spaCy's, ours the marks that end one"

LANGUAGES = {"en": "eng", "fr": "fra", "es": "spa", "de": "deu", "pt": "por", "ru": "rus", "zh": "cmn"}
STOP_WORDS = {
    "en": ["the", "be", "to", "of", "and", "that", "have", "with"],
    "fr": ["le", "la", "les", "de", "et", "un", "une", "dans"],
    "es": ["el", "la", "los", "de", "y", "un", "una", "en"],
    "de": ["der", "die", "das", "und", "zu", "ein", "mit", "von"],
    "pt": ["o", "a", "os", "de", "e", "um", "uma", "em"],
    "ru": ["и", "в", "не", "на", "что", "по", "для", "как"],
}

Theirs = Collection[str]
Outcome = tuple[bool, str]


@dataclass(frozen=True)
class Text:
    """A text that is not blank, in normal form, and its language (ISO 639-1)."""

    text: str
    language: str

    @cached_property
    def signals(self) -> Signals:
        """Our measurements of the text."""
        return Signals(self.text)

    def quality(self) -> QualityConfig:
        """The rules for quality with the stop words of the language."""
        return QualityConfig(stop_words=STOP_WORDS.get(self.language, STOP_WORDS["en"]))


def tokens_of(one: Text, theirs: Theirs) -> list[str]:
    """The tokens of a text."""
    return split_into_words(one.text, LANGUAGES[one.language]) if TOKENS in theirs else one.signals.tokens


def is_unspaced(one: Text, theirs: Theirs) -> bool:
    """Whether the rules are those for scripts without spaces."""
    return LETTERS not in theirs and one.signals.is_unspaced


def filled_lines(text: str) -> list[str]:
    """The lines that are not blank."""
    return [line for line in text.split("\n") if line.strip()]


def doubled(parts: Sequence[str]) -> tuple[int, int]:
    """How many parts stood before, and their characters."""
    more = {part: count - 1 for part, count in Counter(parts).items()}
    return sum(more.values()), sum(count * len(part) for part, count in more.items())


def repetition(one: Text, theirs: Theirs) -> Outcome:
    """Gopher's rules against repetition; whether the text is dropped."""
    config, size = RepetitionConfig(), len(one.text)
    lines = re.split("\n+", one.text) if LINES in theirs else filled_lines(one.text)
    for name, parts in (("paragraph", re.split(r"\n{2,}", one.text.strip())), ("line", lines)):
        count, chars = doubled(parts)
        if count / len(parts) > getattr(config, f"max_{name}_frac"):
            return True, ""
        if chars / size > getattr(config, f"max_{name}_char_frac"):
            return True, ""
    tokens = tokens_of(one, theirs)
    factor, glue = (2, "") if is_unspaced(one, theirs) else (1, " ")
    for n in (2, 3, 4):
        if top_chars(tokens, n * factor, glue, theirs) / size > getattr(config, f"max_top_{n}gram"):
            return True, ""
    for n in (5, 6, 7, 8, 9, 10):
        if repeated_chars(tokens, n * factor, theirs) / size > getattr(config, f"max_repeated_{n}gram"):
            return True, ""
    return False, ""


def top_chars(tokens: list[str], n: int, glue: str, theirs: Theirs) -> int:
    """Characters in all occurrences of the most frequent n-gram."""
    counts = Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))
    if not counts:
        return 0
    gram, count = counts.most_common(1)[0]
    return 0 if count == 1 and ONCE not in theirs else count * len(glue.join(gram))


def repeated_chars(tokens: list[str], n: int, theirs: Theirs) -> int:
    """Characters in n-grams that occurred before, from left to right."""
    seen: set[Hashable] = set()
    place = chars = 0
    while place + n <= len(tokens):
        gram = tokens[place : place + n]
        known: Hashable = "".join(gram) if JOINED in theirs else tuple(gram)
        chars += sum(map(len, gram)) if known in seen else 0
        place += n if known in seen else 1
        seen.add(known)
    return chars


def quality(one: Text, theirs: Theirs) -> Outcome:
    """Gopher's rules for quality; whether the text is dropped."""
    config, text, tokens = one.quality(), one.text, tokens_of(one, theirs)
    if MARKS in theirs:
        words = [token for token in tokens if any(char not in PUNCTUATION_SET for char in token)]
    else:
        words = [token for token in tokens if token[0].isalnum() or token[0] == "_"]
    spaced = words if LETTERS in theirs else [word for word in words if len(word) > 1 or not unspaced_letters(word)]
    lines = text.splitlines() if LINES in theirs else filled_lines(text)
    bullets = ("•", "-") if BULLET in theirs else BULLETS
    chunks = tokens if CHUNKS in theirs else text.split()
    is_short = len(words) < config.min_words
    if is_short or len(words) > config.max_words:
        return True, ""
    if not is_unspaced(one, theirs):
        mean = sum(map(len, spaced)) / len(spaced)
        if not config.min_mean_chars <= mean <= config.max_mean_chars:
            return True, ""
        if len(set(config.stop_words).intersection(tokens)) < config.min_stop_words:
            return True, ""
    return (
        text.count("#") / len(tokens) > config.max_hash_ratio
        or sum(map(text.count, ELLIPSES)) / len(tokens) > config.max_ellipsis_ratio
        or sum(line.lstrip().startswith(bullets) for line in lines) / len(lines) > config.max_bullet_line_frac
        or sum(line.rstrip().endswith(ELLIPSES) for line in lines) / len(lines) > config.max_ellipsis_line_frac
        or sum(any(map(str.isalpha, chunk)) for chunk in chunks) / len(chunks) < config.min_alpha_word_frac,
        "",
    )


def fineweb(one: Text, theirs: Theirs) -> Outcome:
    """FineWeb's rules; whether the text is dropped."""
    config, lines = FinewebConfig(), filled_lines(one.text)
    stops = tuple(TERMINAL_PUNCTUATION) if STOP_MARKS in theirs else tuple(STOPS)
    ends = lines if ENDS in theirs else [line.rstrip() for line in lines]
    widths = [len(line) + (0 if LETTERS in theirs else unspaced_letters(line)) for line in lines]
    size = len(one.text.replace("\n", "")) if LINES in theirs else sum(map(len, lines))
    return (
        sum(line.endswith(stops) for line in ends) / len(lines) < config.min_stop_line_frac
        or sum(width <= config.short_line_chars for width in widths) / len(lines) > config.max_short_line_frac
        or doubled(lines)[1] / size > config.max_repeated_frac
        or one.text.count("\n") / len(tokens_of(one, theirs)) > config.max_line_token_ratio,
        "",
    )


def c4(one: Text, theirs: Theirs) -> Outcome:
    """C4's rules; whether the text is dropped, and if not, what is left of it."""
    config, kept, sentences = C4Config(), [], 0
    refused = ("lorem ipsum", "{")
    if ORDER not in theirs and any(phrase in one.text.lower() for phrase in refused):
        return True, ""
    endings = tuple(".?!\"'") if TERMINAL in theirs else tuple(TERMINALS)
    for whole in one.text.splitlines() if LINES in theirs else one.text.split("\n"):
        line, words = whole.strip(), whole.split()
        if any(len(word) > config.max_word_chars for word in words):
            continue
        line = re.sub(r"\[\d*]|\[edit]|\[citation needed]", "", line)
        line = line if STRIP in theirs else line.strip()
        count = len(words) if LETTERS in theirs else max(len(words), unspaced_letters(line))
        if not line.endswith(endings) or line.endswith("...") or count < config.min_line_words:
            continue
        lowered = line.lower()
        if "lorem ipsum" in lowered or ("javascript" not in lowered and "{" in line):
            return True, ""
        if not any(phrase in lowered for phrase in ("javascript", *POLICY)):
            kept.append(line)
            sentences += count_sentences(line, one.language, theirs)
    is_dropped = sentences < config.min_sentences
    return is_dropped, "" if is_dropped else "\n".join(kept).strip()


def count_sentences(line: str, language: str, theirs: Theirs) -> int:
    """How many sentences a line has."""
    if SENTENCES in theirs:
        return len(split_into_sentences(line, LANGUAGES[language]))
    return len(re.findall("[.!?]+[\"'”\u2019)]*(?=\\s|$)|[。\uff01\uff1f\uff0e｡]+", line))


@dataclass(frozen=True, slots=True)
class Rules:
    """A set of rules: ours, datatrove's filter by language, the plain form, and the definitions that differ."""

    ours: Callable[[Text], Outcome]
    theirs: Callable[[str], object]
    plain: Callable[[Text, Theirs], Outcome]
    differences: tuple[str, ...]


def _c4_ours(one: Text) -> Outcome:
    left, reason = c4_lines(one.text, C4Config())
    return bool(reason), "" if reason else left


RULES = {
    "repetition": Rules(
        lambda one: (bool(repetition_reason(one.signals, RepetitionConfig())), ""),
        lambda language: GopherRepetitionFilter(language=LANGUAGES[language]),
        repetition,
        (ONCE, TOKENS, LINES, LETTERS, JOINED),
    ),
    "quality": Rules(
        lambda one: (bool(quality_reason(one.signals, one.quality())), ""),
        lambda language: GopherQualityFilter(
            language=LANGUAGES[language], stop_words=STOP_WORDS.get(language, STOP_WORDS["en"])
        ),
        quality,
        (CHUNKS, TOKENS, MARKS, LINES, BULLET, LETTERS),
    ),
    "fineweb": Rules(
        lambda one: (bool(fineweb_reason(one.signals, FinewebConfig())), ""),
        lambda language: FineWebQualityFilter(language=LANGUAGES[language], char_duplicates_ratio=0.1),
        fineweb,
        (TOKENS, STOP_MARKS, ENDS, LINES, LETTERS),
    ),
    "c4": Rules(
        _c4_ours,
        lambda language: C4QualityFilter(language=LANGUAGES[language]),
        c4,
        (ORDER, SENTENCES, TERMINAL, STRIP, LINES, LETTERS),
    ),
}


@cache
def _filter(name: str, language: str) -> object:
    return RULES[name].theirs(language)


def peer_outcome(name: str, one: Text) -> Outcome:
    """What datatrove's filter decides, and what it leaves of the text where the filter changes it."""
    peer = Peer(text=one.text, id="")
    is_kept = _filter(name, one.language).filter(peer) is True  # type: ignore[attr-defined]
    return not is_kept, peer.text if is_kept and name == "c4" else ""


@dataclass(slots=True)
class Comparison:
    """What came of one set of rules: documents that agree, causes by count, and what nothing explains."""

    agree: int = 0
    dropped_by_datatrove: int = 0
    causes: Counter[tuple[str, ...]] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)


Comparisons = dict[str, Comparison]


def compare(texts: Iterable[Text], *, names: Iterable[str] = RULES, without: Collection[str] = ()) -> Comparisons:
    """Hold sets of rules against datatrove's, leaving out some of the known differences (to test this very function).

    All sets look at a text before the next one, since datatrove keeps the words of the last few texts.
    """
    found = {name: Comparison() for name in names}
    for one in texts:
        for name, comparison in found.items():
            _compare(one, RULES[name], comparison, theirs=peer_outcome(name, one), without=without)
    return found


def _compare(one: Text, rules: Rules, comparison: Comparison, *, theirs: Outcome, without: Collection[str]) -> None:
    ours, start = rules.ours(one), repr(one.text[:60])
    switches = [switch for switch in rules.differences if switch not in without]
    comparison.dropped_by_datatrove += theirs[0]
    if rules.plain(one, ()) != ours:
        comparison.unexplained.append(f"the plain form decides otherwise than our code: {start}")
    elif rules.plain(one, switches) != theirs:
        comparison.unexplained.append(f"the plain form decides otherwise than datatrove: {start}")
    elif ours == theirs:
        comparison.agree += 1
    else:
        comparison.causes[next(some for some in subsets(switches) if rules.plain(one, some) == theirs)] += 1


def subsets(switches: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All sets of some switches, the smallest first."""
    return chain.from_iterable(combinations(switches, size) for size in range(len(switches) + 1))
