import random
from pathlib import Path

import pytest

from core.errors import ConfigError
from data.documents import Document, key_of
from data.steps.lines import LinesConfig, Part
from tests.data.phases import shortened

MENU = "Home | Products | About us | Contact | Imprint"
CONFIG = LinesConfig(is_on=True)
ORDER = ["first", "second"]


def document(text: str, source: str = "first", name: str = "") -> Document:
    return Document(key_of(text), source, text, name or key_of(text))


def some_documents() -> list[Document]:
    sources = ["second", "second", "first", "second"]
    return [document(f"{MENU}\nText number {n} is its own.\n}}", source) for n, source in enumerate(sources)]


def test_a_line_of_many_documents_stays_in_the_first_alone(tmp_path: Path) -> None:
    found = shortened(some_documents(), ORDER, CONFIG, tmp_path)
    assert sorted(found.values()) == [f"Text number {n} is its own.\n}}" for n in (0, 1, 3)]
    turned = shortened(some_documents(), ORDER[::-1], CONFIG, tmp_path)
    keeper = min(one.key for one in some_documents() if one.source == "second")
    assert turned.keys() == {one.key for one in some_documents()} - {keeper}


@pytest.mark.parametrize("buckets", [1, 2, 13])
def test_neither_order_nor_buckets_change_anything(tmp_path: Path, buckets: int) -> None:
    expected = shortened(some_documents(), ORDER, CONFIG, tmp_path)
    shuffled = some_documents()
    random.Random(buckets).shuffle(shuffled)
    assert shortened(shuffled, ORDER, CONFIG, tmp_path, buckets=buckets) == expected


def test_a_line_must_stand_in_enough_documents_and_counts_once_in_each(tmp_path: Path) -> None:
    twice = [document(f"{MENU}\n{MENU}\none"), document(f"{MENU}\ntwo")]
    assert not shortened(twice, ORDER, CONFIG, tmp_path)
    found = shortened(twice, ORDER, LinesConfig(is_on=True, min_documents=2), tmp_path)
    assert len(found) == 1
    keeper = min(twice, key=lambda one: one.key)
    assert keeper.key not in found  # the first keeps its own line as often as it has it


def test_short_lines_stay(tmp_path: Path) -> None:
    config = LinesConfig(is_on=True, min_chars=len(MENU))
    assert len(shortened(some_documents(), ORDER, config, tmp_path)) == 3
    config = LinesConfig(is_on=True, min_chars=len(MENU) + 1)
    assert not shortened(some_documents(), ORDER, config, tmp_path)


def test_paragraphs_are_compared_whole(tmp_path: Path) -> None:
    config = LinesConfig(is_on=True, part=Part.PARAGRAPHS)
    whole = [document(f"{MENU}\nand a second line.\n\nText {n}.") for n in range(3)]
    assert sorted(shortened(whole, ORDER, config, tmp_path).values()) == sorted(
        f"Text {n}." for n in range(3) if whole[n].key != min(one.key for one in whole)
    )
    differing = [document(f"{MENU}\nand line {n}.\n\nText.") for n in range(3)]
    assert not shortened(differing, ORDER, config, tmp_path)


def test_what_means_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="min_documents is 1"):
        LinesConfig(min_documents=1)
