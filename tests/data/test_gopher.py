import random
from dataclasses import replace

import pytest

from core.errors import ConfigError
from data.steps.gopher import QualityConfig, RepetitionConfig, quality_reason, repetition_reason
from data.steps.signals import Signals
from tests.data.prose import CHINESE, ENGLISH, JAPANESE

OPEN = RepetitionConfig(
    max_line_frac=1, max_paragraph_frac=1, max_line_char_frac=1, max_paragraph_char_frac=1, max_top_2gram=1,
    max_top_3gram=1, max_top_4gram=1, max_repeated_5gram=1, max_repeated_6gram=1, max_repeated_7gram=1,
    max_repeated_8gram=1, max_repeated_9gram=1, max_repeated_10gram=1,
)  # fmt: skip


def some_words(count: int) -> str:
    source = random.Random(1)
    return " ".join(f"{source.randrange(10**6)}a" for _ in range(count))


PARTS = ENGLISH.split("\n\n")
REPEATED = {
    "repeated_paragraphs": "\n\n".join(["one", "two", "one", "one", ENGLISH]),
    "repeated_paragraph_chars": "\n\n".join([PARTS[0], *"abcdefgh", PARTS[0]]),
    "repeated_lines": "\n".join(["one", "two", "one", "one", ENGLISH]),
    "repeated_line_chars": "\n".join([PARTS[0], *"abcdefgh", PARTS[0]]),
    "top_2gram": " red fox ".join("abcdefghijk"),
    "top_3gram": " red fox jumps ".join(some_words(14).split()),
    "top_4gram": " so it goes on ".join(some_words(14).split()),
    "repeated_5grams": some_words(60) + " " + some_words(20),
    "repeated_10grams": some_words(60) + " " + some_words(20),
}


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, JAPANESE])
def test_prose_passes_all_rules(text: str) -> None:
    assert repetition_reason(Signals(text), RepetitionConfig()) == ""
    assert quality_reason(Signals(text), QualityConfig()) == ""


@pytest.mark.parametrize("reason", REPEATED)
def test_repetition_is_dropped_under_its_rule_and_no_other(reason: str) -> None:
    field = {
        "repeated_paragraphs": "max_paragraph_frac",
        "repeated_paragraph_chars": "max_paragraph_char_frac",
        "repeated_lines": "max_line_frac",
        "repeated_line_chars": "max_line_char_frac",
    }.get(reason, f"max_{reason.removesuffix('s')}")
    only = replace(OPEN, **{field: getattr(RepetitionConfig(), field)})
    assert repetition_reason(Signals(REPEATED[reason]), only) == reason
    assert repetition_reason(Signals(REPEATED[reason]), OPEN) == ""
    assert repetition_reason(Signals(REPEATED[reason]), RepetitionConfig()) != ""


def test_repeated_chinese_is_dropped() -> None:
    assert repetition_reason(Signals("\n\n".join([CHINESE] * 2)), RepetitionConfig()) == "repeated_paragraphs"
    assert repetition_reason(Signals(CHINESE.replace("\n", "") * 2), RepetitionConfig()) == "repeated_5grams"


BAD = {
    "gopher_few_words": ENGLISH[:200],
    "gopher_short_words": ENGLISH + " a" * 200,
    "gopher_long_words": ENGLISH + " internationalization" * 200,
    "gopher_hashes": ENGLISH + " # x" * 100,
    "gopher_ellipses": ENGLISH + " well… then" * 60,
    "gopher_bullets": "\n".join("- " + part for part in [*PARTS] * 10),
    "gopher_ellipsis_lines": "\n".join(part + " and so ..." for part in PARTS),
    "gopher_not_alphabetic": ENGLISH + " 1234" * 60,
    "gopher_stop_words": "lorem ipsum dolor sit amet consectetur " * 10,
}


@pytest.mark.parametrize("reason", BAD)
def test_poor_text_is_dropped_under_its_rule(reason: str) -> None:
    assert quality_reason(Signals(BAD[reason]), QualityConfig()) == reason


def test_a_text_at_the_threshold_stays() -> None:
    count = len(Signals(ENGLISH).words)
    assert quality_reason(Signals(ENGLISH), QualityConfig(min_words=count, max_words=count)) == ""
    assert quality_reason(Signals(ENGLISH), QualityConfig(min_words=count + 1)) == "gopher_few_words"
    assert quality_reason(Signals(ENGLISH), QualityConfig(max_words=count - 1)) == "gopher_many_words"


def test_stop_words_are_those_of_the_recipe() -> None:
    french = "Le navire était en mer depuis onze jours lorsque le capitaine aperçut la lumière du port. " * 5
    assert quality_reason(Signals(french), QualityConfig()) == "gopher_stop_words"
    assert quality_reason(Signals(french), QualityConfig(stop_words=["le", "la", "du", "en"])) == ""
    with pytest.raises(ConfigError, match="min_stop_words is 2, but there are 1"):
        QualityConfig(stop_words=["le", "le"])
