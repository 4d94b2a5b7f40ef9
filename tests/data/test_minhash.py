import random

import numpy as np
import pytest

from core.errors import ConfigError
from data.steps.minhash import FuzzyConfig, Permutations, bands_of, jaccard_reaches, shingles_of, signature

WORDS = [f"word{number}" for number in range(400)]


def text_of(seed: int, count: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def python_signature(text: str, config: FuzzyConfig) -> list[int]:
    """The same signature in Python's integers."""
    drawn, mask = Permutations.drawn(config), 2**64 - 1
    pairs = list(zip(map(int, drawn.factors), map(int, drawn.addends), strict=True))
    values = [[(int(one) * factor + addend) & mask for factor, addend in pairs] for one in shingles_of(text, ngram=5)]
    return [min(row[index] ^ (row[index] >> 32) for row in values) for index in range(len(pairs))]


def test_shingles_are_distinct_and_know_neither_case_nor_punctuation() -> None:
    assert len(shingles_of("a b c a b c a b c", ngram=3)) == 3
    assert np.array_equal(shingles_of("A b, c D e F!", ngram=5), shingles_of("a B c\nd - e f", ngram=5))
    assert len(shingles_of("a b c d e f", ngram=5)) == 2
    assert len(shingles_of("a b", ngram=5)) == 1
    assert len(shingles_of("...", ngram=5)) == 0


def test_shingles_of_chinese_and_japanese_are_of_letters() -> None:
    assert len(shingles_of("床前明月光疑是地上霜", ngram=5)) == 6
    assert len(shingles_of("吾輩は猫である名前はまだ無い", ngram=5)) == 10


def test_a_signature_is_that_of_plain_integers_over_many_chunks() -> None:
    config = FuzzyConfig(permutations=12, bands=3)
    for count in (7, 5000):
        text = text_of(1, count)
        found = signature(shingles_of(text, ngram=5), Permutations.drawn(config))
        assert found.tolist() == python_signature(text, config)


def test_bands_of_a_known_text_do_not_change() -> None:
    config = FuzzyConfig(permutations=4, bands=2)
    shingles = shingles_of("one two three four five six", ngram=config.ngram)
    found = bands_of(shingles, config, Permutations.drawn(config))
    assert found.tolist() == [13779815231695614209, 6232235993153820025]


def test_the_share_of_equal_minima_estimates_the_similarity() -> None:
    config = FuzzyConfig(permutations=2000, bands=1)
    drawn = Permutations.drawn(config)
    one = shingles_of(" ".join(f"a{n}" for n in range(304)), ngram=5)
    other = shingles_of(" ".join(f"a{n}" for n in range(100, 404)), ngram=5)
    equal = float(np.mean(signature(one, drawn) == signature(other, drawn)))
    assert abs(equal - 200 / 400) < 4 * (0.25 / 2000) ** 0.5  # four standard deviations of a binomial


def test_the_threshold_is_decided_exactly() -> None:
    sets = [np.arange(start, start + 7, dtype=np.uint64) for start in (0, 1)]  # 6 shared of 8
    assert jaccard_reaches(sets[0], sets[1], 0.75)
    assert not jaccard_reaches(sets[0], sets[1], 0.75 + 1e-9)
    assert jaccard_reaches(sets[0], sets[0], 1.0)
    none = np.zeros(0, dtype=np.uint64)
    assert not jaccard_reaches(none, none, 0.1)
    assert not jaccard_reaches(none, sets[0], 0.1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("permutations", 113, "no multiple"), ("ngram", 0, "ngram is 0"), ("min_jaccard", 0.0, "more than 0")],
)
def test_what_means_nothing_is_refused(field: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FuzzyConfig(**{field: value})  # type: ignore[arg-type]
