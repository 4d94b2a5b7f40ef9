import random

import pytest

from core.errors import ConfigError
from data.documents import Document, key_of
from data.steps.lines import LinesConfig, Part, without_repeated

MENU = "Home | Products | About us | Contact | Imprint"
CONFIG = LinesConfig(is_on=True)
ORDER = ["first", "second"]


def document(text: str, source: str = "first") -> Document:
    return Document(key_of(text), source, text, "")


def some_documents() -> list[Document]:
    sources = ["second", "second", "first", "second"]
    return [document(f"{MENU}\nText number {n} is its own.\n}}", source) for n, source in enumerate(sources)]


def test_a_line_of_many_documents_stays_in_the_first_alone() -> None:
    found = without_repeated(some_documents(), order=ORDER, config=CONFIG)
    assert sorted(found.values()) == [f"Text number {n} is its own.\n}}" for n in (0, 1, 3)]
    turned = without_repeated(some_documents(), order=ORDER[::-1], config=CONFIG)
    keeper = min(one.key for one in some_documents() if one.source == "second")
    assert turned.keys() == {one.key for one in some_documents()} - {keeper}


def test_the_order_of_the_documents_changes_nothing() -> None:
    expected = without_repeated(some_documents(), order=ORDER, config=CONFIG)
    for seed in range(5):
        shuffled = some_documents()
        random.Random(seed).shuffle(shuffled)
        assert without_repeated(shuffled, order=ORDER, config=CONFIG) == expected


def test_a_line_must_stand_in_enough_documents_and_counts_once_in_each() -> None:
    twice = [document(f"{MENU}\n{MENU}\none"), document(f"{MENU}\ntwo")]
    assert not without_repeated(twice, order=ORDER, config=CONFIG)
    found = without_repeated(twice, order=ORDER, config=LinesConfig(is_on=True, min_documents=2))
    assert len(found) == 1
    keeper = min(twice, key=lambda one: one.key)
    assert keeper.key not in found  # the first keeps its own line as often as it has it


def test_short_lines_stay() -> None:
    config = LinesConfig(is_on=True, min_chars=len(MENU))
    assert len(without_repeated(some_documents(), order=ORDER, config=config)) == 3
    config = LinesConfig(is_on=True, min_chars=len(MENU) + 1)
    assert not without_repeated(some_documents(), order=ORDER, config=config)


def test_paragraphs_are_compared_whole() -> None:
    config = LinesConfig(is_on=True, part=Part.PARAGRAPHS)
    whole = [document(f"{MENU}\nand a second line.\n\nText {n}.") for n in range(3)]
    assert sorted(without_repeated(whole, order=ORDER, config=config).values()) == sorted(
        f"Text {n}." for n in range(3) if whole[n].key != min(one.key for one in whole)
    )
    differing = [document(f"{MENU}\nand line {n}.\n\nText.") for n in range(3)]
    assert not without_repeated(differing, order=ORDER, config=config)


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="min_documents is 1"):
        LinesConfig(min_documents=1)
