from dataclasses import replace

import pytest

from core.errors import ConfigError
from data.steps.filters import FilterConfig, digit_frac, drop_reason, repeated_line_frac, symbol_frac
from tests.data.prose import CHINESE, ENGLISH, JAPANESE

GOOD = "A sound paragraph of plain words, written in 1998, that says what it has to say and then comes to its end."
OPEN = FilterConfig(
    min_chars=0, min_words=0, max_word_chars=10**9, max_symbol_frac=1, max_digit_frac=1, max_repeated_line_frac=1,
    max_replaced_frac=1,
)  # fmt: skip
BAD = {
    "empty": " \n ",
    "too_few_chars": "Few words, in all, are we.",
    "too_few_words": "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen-Verleihung!",
    "long_word": GOOD + " " + "x" * 201,
    "undecoded": GOOD + "\ufffd",
    "symbols": GOOD + " " + "|=+~" * 30,
    "digits": GOOD + " 1234567" * 20,
    "repeated_lines": "\n".join([GOOD] * 3),
}


@pytest.mark.parametrize("text", [GOOD, ENGLISH, CHINESE, JAPANESE, CHINESE.replace("\n", "")])
def test_good_text_passes(text: str) -> None:
    assert drop_reason(text, FilterConfig()) == ""


@pytest.mark.parametrize("reason", BAD)
def test_bad_text_is_dropped_under_its_reason(reason: str) -> None:
    assert drop_reason(BAD[reason], FilterConfig()) == reason


@pytest.mark.parametrize("reason", [reason for reason in BAD if reason != "empty"])
def test_open_thresholds_let_everything_but_nothing_pass(reason: str) -> None:
    assert drop_reason(BAD[reason], OPEN) == ""
    assert drop_reason(BAD["empty"], OPEN) == "empty"


def test_fractions_are_as_counted_by_hand() -> None:
    assert symbol_frac("a+b = c, d.") == 2 / 11
    assert symbol_frac("a+😀\ud800") == 3 / 4
    assert digit_frac("ab 12\n3") == 3 / 5
    assert repeated_line_frac("abcd\nxy\n\n  abcd\nab") == 4 / 12
    assert repeated_line_frac("") == symbol_frac("") == digit_frac("") == 0


def test_a_text_at_the_threshold_stays() -> None:
    config = replace(OPEN, min_chars=len(GOOD), min_words=len(GOOD.split()), max_word_chars=len("paragraph"))
    assert drop_reason(GOOD, config) == ""
    assert drop_reason(GOOD, replace(config, min_chars=len(GOOD) + 1)) == "too_few_chars"
    assert drop_reason(GOOD, replace(config, min_words=len(GOOD.split()) + 1)) == "too_few_words"
    assert drop_reason(GOOD, replace(config, max_word_chars=len("paragraph") - 1)) == "long_word"


def test_words_of_scripts_without_spaces_are_letters_only_where_they_prevail() -> None:
    short = "我冒了严寒"
    assert drop_reason(short, replace(OPEN, min_words=5, max_word_chars=1)) == ""
    assert drop_reason(short, replace(OPEN, min_words=6)) == "too_few_words"
    assert drop_reason(f"The town of {short}", replace(OPEN, min_words=5)) == "too_few_words"
    assert drop_reason("x" * 20 + CHINESE, replace(OPEN, max_word_chars=19)) == "long_word"


def test_refused_patterns_give_their_name() -> None:
    config = FilterConfig(refused={"stub": "(?i)may refer to:", "lorem": "lorem ipsum"})
    assert drop_reason(GOOD, config) == ""
    assert drop_reason(GOOD + " It May refer to: this.", config) == "refused_stub"


def test_thresholds_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_digit_frac is 1\.5"):
        FilterConfig(max_digit_frac=1.5)
    with pytest.raises(ConfigError, match=r"refused\.stub"):
        FilterConfig(refused={"stub": "("})
