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


def test_an_ngram_of_chinese_has_twice_as_many_letters() -> None:
    assert Signals("天地玄黄宇宙洪荒日月" + "天地玄黄宇宙洪荒日月").repeated_ngram_chars(5) == 10
    assert Signals("天地玄黄宇" + "宙洪荒日月" + "天地玄黄宇").repeated_ngram_chars(5) == 0


def test_repeated_parts_are_counted_from_the_second_on() -> None:
    assert repeated(["ab", "c", "ab", "ab"]) == (2, 4)
    assert Signals("a\n\n\nb\nc\n").lines == ["a", "b", "c"]
    assert Signals("a\n\n\nb\nc\n").paragraphs == ["a", "b\nc"]
