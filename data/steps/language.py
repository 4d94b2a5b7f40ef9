"""Which language a text is in, offline: the model lies inside the package py3langid (BSD-3).

Multinomial naive Bayes over byte n-grams (Lui and Baldwin 2012, langid.py, ACL demo; py3langid 0.4.0 is its fork with a
new model). Where we differ: the package multiplies 32-bit floats in an order that the CPU's linear algebra decides; we
take its tables and sum in 64-bit integers (16 binary digits behind the point), so that the answer is equal on every
machine.

Near relatives are confused at times (of 496 Spanish encyclopedia leads 4 were called Extremaduran and 1 Aragonese), so
a source's list should name such neighbours too. Short text and text of few letters (program code, tables) gives no
answer worth acting on: it is not judged and stays.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from py3langid.langid import MODEL_FILE, LanguageIdentifier, visit_counts

from core.errors import ConfigError

FRACTION_BITS = 16
UNDETERMINED = "undetermined"
# Letters above have three bytes and about three times the content.
WIDE_FROM = "\u2e7f"
# Vowels and points that stand on letters: of the characters of Tamil a third, and none of them is alphabetic.
_MARK = re.compile(
    f"[{''.join(char for char in map(chr, range(0x300, 0x2000)) if unicodedata.category(char)[0] == 'M')}]"
)


@dataclass(kw_only=True, slots=True)
class LanguageConfig:
    """Field `language` of section `clean`: drops what is in none of the languages that its source should have.

    expected         languages by source, as ISO 639-1 codes; the documents of sources without an entry all stay
    min_letters      a text of fewer letters is not judged; a letter of Chinese or Japanese counts as three
    min_letter_frac  nor is a text in which fewer of the characters that are no white space are letters or stand on
                     them: prose is above 0.9, program code below 0.75
    max_chars        only the beginning of a longer text is looked at
    """

    expected: dict[str, list[str]] = field(default_factory=dict)
    min_letters: int = 60
    min_letter_frac: float = 0.8
    max_chars: int = 20_000

    def __post_init__(self) -> None:
        for source, codes in self.expected.items():
            strange = sorted(set(codes) - set(languages()))
            if strange or not codes:
                raise ConfigError(
                    f"language.expected.{source} has {strange[0] if strange else 'no language'}; "
                    f"give one or more of {', '.join(languages())}"
                )


@dataclass(frozen=True, slots=True)
class Model:
    """The package's tables: an automaton over bytes, and weights of its features by class in fixed point."""

    moves: list[int]
    rows: list[int]
    features: list[int]
    weights: NDArray[np.int32]
    priors: NDArray[np.int64]
    classes: list[str]


def identify(text: str, config: LanguageConfig) -> str:
    """The code of the text's language, or `undetermined`."""
    head = text[: config.max_chars]
    letters = sum(map(str.isalpha, head)) + len(_MARK.findall(head))
    visible = len("".join(head.split()))
    more = 2 * sum(char > WIDE_FROM and char.isalpha() for char in head)
    if letters + more < config.min_letters or letters + more < config.min_letter_frac * (visible + more):
        return UNDETERMINED
    return classify(head)


def language_reason(language: str, *, source: str, config: LanguageConfig) -> str:
    """Why a document of a source is dropped for its language; empty if it is not."""
    expected = config.expected.get(source, [])
    is_unwanted = bool(expected) and language != UNDETERMINED and language not in expected
    return f"language_{language}" if is_unwanted else ""


def classify(text: str) -> str:
    """The most probable language, also of the shortest text."""
    model = _model()
    counts = visit_counts(model.moves, model.rows, model.features, (text.lower() if text.isupper() else text).encode())
    if not counts:
        return UNDETERMINED
    found = np.fromiter(counts.keys(), dtype=np.intp, count=len(counts))
    factors = np.fromiter(map(_fixed_log1p, counts.values()), dtype=np.int64, count=len(counts))
    scores = factors @ model.weights[found].astype(np.int64) + (model.priors << FRACTION_BITS)
    return model.classes[int(scores.argmax())]


def languages() -> list[str]:
    """The codes of all languages that can be told apart."""
    return sorted(set(_model().classes))


def model_version() -> str:
    """What decides the answers beside our code."""
    return f"py3langid {version('py3langid')}"


@cache
def _model() -> Model:
    loaded = LanguageIdentifier.from_model_file(MODEL_FILE)
    return Model(
        moves=loaded.tk_nextmove,
        rows=[row << 8 for row in loaded.tk_row],
        features=loaded.tk_output,
        weights=_fixed(loaded.nb_ptc).astype(np.int32),  # at most 2^20, and half the memory
        priors=_fixed(loaded.nb_pc),
        classes=loaded.nb_classes,
    )


def _fixed(table: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.rint(table.astype(np.float64) * (1 << FRACTION_BITS)).astype(np.int64)


@cache
def _fixed_log1p(count: int) -> int:
    # By mpmath, rounded once: the machine's own logarithm may differ in its last digit.
    import mpmath

    return int(mpmath.nint(mpmath.log1p(count) * (1 << FRACTION_BITS)))
