from data.steps.words import is_plain, unspaced_letters, words_of


def test_words_are_cut_at_spaces_and_punctuation() -> None:
    assert words_of("It's a well-known façade: 3.14!") == ["It", "s", "a", "well", "known", "façade", "3", "14"]


def test_scripts_without_spaces_give_one_word_a_letter() -> None:
    assert words_of("床前明月光,Li Bai写") == ["床", "前", "明", "月", "光", "Li", "Bai", "写"]
    assert words_of("カタカナとひらがな") == list("カタカナとひらがな")
    assert len(words_of("สวัสดี")) == 6
    assert words_of("한국어 문장") == ["한국어", "문장"]


def test_marks_belong_to_their_word() -> None:
    assert words_of("हिन्दी भाषा।") == ["हिन्दी", "भाषा"]
    assert words_of("בְּרֵאשִׁית בָּרָא") == ["בְּרֵאשִׁית", "בָּרָא"]
    assert words_of("x\u0301y z") == ["x\u0301y", "z"]


def test_letters_without_spaces_are_counted() -> None:
    assert unspaced_letters("日本語 text, русский, 한국어") == 3


def test_a_text_without_marks_and_unspaced_letters_is_plain_and_has_the_same_words() -> None:
    text = "It's a façade, русский 한국어 ὁδός e\u0301_1"
    assert is_plain(text.replace("\u0301", "")) and not is_plain(text) and not is_plain("一") and not is_plain("ส")
    assert words_of(text.replace("\u0301", "")) == [word.replace("\u0301", "") for word in words_of(text)]
