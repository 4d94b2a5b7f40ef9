import random
from pathlib import Path

import pytest

from data.documents import Document, key_of
from data.steps.fuzzy import Components, join_verified
from data.steps.minhash import FuzzyConfig
from tests.data.phases import near_duplicates

CONFIG = FuzzyConfig(is_on=True)
# One row a band: almost every pair that shares anything is a candidate, so only the verifier decides.
LOOSE = FuzzyConfig(is_on=True, bands=112)
ORDER = ["first", "second"]
TANG = (
    "床前明月光疑是地上霜舉頭望明月低頭思故鄉白日依山盡黃河入海流"
    "欲窮千里目更上一層樓春眠不覺曉處處聞啼鳥夜來風雨聲花落知多少"
)


def document(text: str, source: str = "first") -> Document:
    return Document(key_of(text), source, text, "")


def numbered(start: int, stop: int) -> str:
    return " ".join(f"w{number}" for number in range(start, stop))


def corpus() -> list[Document]:
    """Sixty texts of random words; every third has a copy with one word changed, in the second source."""
    source = random.Random(3)
    documents = []
    for number in range(60):
        words = [f"w{source.randrange(5000)}" for _ in range(120)]
        documents.append(document(" ".join(words)))
        if number % 3 == 0:
            documents.append(document(" ".join([*words[:60], "changed", *words[61:]]), "second"))
    return documents


def test_near_duplicates_are_found_and_the_first_source_survives(tmp_path: Path) -> None:
    documents = corpus()
    found = near_duplicates(documents, ORDER, CONFIG, tmp_path)
    assert found.keys() == {one.key for one in documents if one.source == "second"}
    assert set(found.values()) <= {one.key for one in documents if one.source == "first"}
    turned = near_duplicates(documents, ORDER[::-1], CONFIG, tmp_path)
    assert turned == {kept: dropped for dropped, kept in found.items()}


@pytest.mark.parametrize("buckets", [1, 2, 13])
def test_neither_order_nor_buckets_change_what_is_kept(tmp_path: Path, buckets: int) -> None:
    expected = near_duplicates(corpus(), ORDER, CONFIG, tmp_path)
    shuffled = corpus()
    random.Random(buckets).shuffle(shuffled)
    assert near_duplicates(shuffled, ORDER, CONFIG, tmp_path, buckets=buckets) == expected


def test_a_hand_made_pair_is_decided_at_the_threshold(tmp_path: Path) -> None:
    # 20 words have 16 shingles; shifted by one word 15 of 17 are shared, by two 14 of 18.
    pair = [document(numbered(0, 20)), document(numbered(2, 22))]
    for least, is_found in ((14 / 18, True), (14 / 18 + 1e-9, False)):
        config = FuzzyConfig(is_on=True, bands=112, min_jaccard=least)
        assert bool(near_duplicates(pair, ORDER, config, tmp_path)) == is_found


def test_a_shared_band_alone_drops_nothing(tmp_path: Path) -> None:
    documents = [document(numbered(0, 200)), document(numbered(100, 300))]
    assert not near_duplicates(documents, ORDER, LOOSE, tmp_path)
    # The control: with a threshold below their similarity (96 of 296) the same bands drop one.
    easy = FuzzyConfig(is_on=True, bands=112, min_jaccard=0.3)
    assert len(near_duplicates(documents, ORDER, easy, tmp_path)) == 1


def test_chinese_texts_are_told_apart_and_near_ones_found(tmp_path: Path) -> None:
    near = TANG[:30] + "龍" + TANG[31:]
    other = TANG[::-1]
    texts = [document(TANG), document(near, "second"), document(other, "second")]
    config = FuzzyConfig(is_on=True, bands=56, permutations=112)
    assert near_duplicates(texts, ORDER, config, tmp_path) == {key_of(near): key_of(TANG)}


def test_a_chain_of_pairs_keeps_one_whatever_the_order(tmp_path: Path) -> None:
    chain = [document(numbered(3 * link, 3 * link + 60)) for link in range(5)]
    for seed in range(5):
        random.Random(seed).shuffle(chain)
        found = near_duplicates(chain, ORDER, LOOSE, tmp_path)
        assert set(found.values()) == {min(one.key for one in chain)}
        assert len(found) == 4


def test_texts_without_words_are_no_duplicates_of_each_other(tmp_path: Path) -> None:
    assert not near_duplicates([document("..."), document("!!!")], ORDER, CONFIG, tmp_path)


def test_a_component_has_the_smallest_number_for_its_root() -> None:
    pairs = [(5, 4), (3, 4), (1, 2), (2, 5)]
    for seed in range(10):
        random.Random(seed).shuffle(pairs)
        components = Components(7)
        for pair in pairs:
            components.join(*pair)
        assert [components.root(number) for number in range(7)] == [0, 1, 1, 1, 1, 1, 6]


def test_a_pair_is_asked_for_once_and_not_at_all_where_it_is_joined_already() -> None:
    asked = []

    def is_near(one: int, other: int) -> bool:
        asked.append((one, other))
        return (one, other) != (0, 3)

    components = join_verified(4, [[2, 1, 0], [0, 3], [3, 0]], is_near)
    assert components.joined() == [(1, 0), (2, 0)]
    assert asked == [(0, 1), (0, 2), (0, 3)]
