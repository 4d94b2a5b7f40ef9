import random
from collections import Counter

import pytest

from data.steps.signals import Signals, repeated
from tests.data.prose import CHINESE, ENGLISH, JAPANESE


def test_tokens_are_words_marks_rules_and_letters() -> None:
    assert Signals('He said: "don\'t!" ... ---').tokens == [
        *("He", "said", ":", '"', "don", "'", "t", "!", '"', "...", "---"),
    ]
    assert Signals("床前,Li_1").tokens == ["床", "前", ",", "Li_1"]
    assert Signals("床前, Li ...").words == ["床", "前", "Li"]
    assert Signals("床前, Li x ...").spaced_words == ["Li", "x"]


def test_scripts_without_spaces_are_recognised() -> None:
    assert [Signals(text).is_unspaced for text in (CHINESE, JAPANESE, ENGLISH, "")] == [True, True, False, False]


def test_the_top_ngram_is_counted_by_hand() -> None:
    # "a b" three times, with its space; "b c" and "b d" once.
    assert Signals("a b c a b d a b").top_ngram_chars(2) == 9
    # Equally frequent: the first counts.
    assert Signals("aaa b aaa b . c c c").top_ngram_chars(2) == 2 * len("aaa b")
    assert Signals("all of it differs").top_ngram_chars(2) == 0
    assert Signals("two words").top_ngram_chars(3) == 0


def test_repeated_ngrams_are_counted_from_the_second_on_without_overlap() -> None:
    assert Signals("a b c d e x a b c d e").repeated_ngram_chars(5) == 5
    assert Signals("aa " * 20).repeated_ngram_chars(5) == 3 * 5 * 2  # the first at place 0, then at 1, 6 and 11
    assert Signals("a b c d e f g h").repeated_ngram_chars(5) == 0
    assert Signals("").repeated_ngram_chars(5) == 0


def counted_plainly(tokens: list[str], width: int, glue: str) -> tuple[int, int]:
    """Characters of the most frequent n-gram, and in n-grams that occurred before, by the words of the docstrings."""
    grams = [tuple(tokens[start : start + width]) for start in range(len(tokens) - width + 1)]
    gram, most = Counter(grams).most_common(1)[0] if grams else ((), 0)
    seen: set[tuple[str, ...]] = set()
    place = chars = 0
    while place < len(grams):
        here = grams[place]
        chars += sum(map(len, here)) if here in seen else 0
        place += width if here in seen else 1
        seen.add(here)
    return (most * len(glue.join(gram)) if most > 1 else 0), chars


@pytest.mark.parametrize(("letters", "glue", "factor"), [("abc", " ", 1), ("天地玄", "", 2)])
def test_ngrams_of_any_text_are_those_counted_plainly(letters: str, glue: str, factor: int) -> None:
    source = random.Random(5)
    for _ in range(100):
        text = Signals(glue.join(source.choices(letters, k=source.randint(0, 60))))
        for n in range(2, 11):
            plain = counted_plainly(text.tokens, n * factor, glue)
            assert (text.top_ngram_chars(n), text.repeated_ngram_chars(n)) == plain


def test_an_ngram_of_chinese_has_twice_as_many_letters() -> None:
    assert Signals("天地玄黄宇宙洪荒日月" + "天地玄黄宇宙洪荒日月").repeated_ngram_chars(5) == 10
    assert Signals("天地玄黄宇" + "宙洪荒日月" + "天地玄黄宇").repeated_ngram_chars(5) == 0


def test_repeated_parts_are_counted_from_the_second_on() -> None:
    assert repeated(["ab", "c", "ab", "ab"]) == (2, 4)
    assert Signals("a\n\n\nb\nc\n").lines == ["a", "b", "c"]
    assert Signals("a\n\n\nb\nc\n").paragraphs == ["a", "b\nc"]
