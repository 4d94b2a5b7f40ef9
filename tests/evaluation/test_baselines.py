"""The baselines against what can be said without computing them."""

import hashlib
import math

from evaluation.baselines import unigram_bits, zstd_bits


def test_equally_frequent_tokens_cost_the_logarithm_of_their_number() -> None:
    assert unigram_bits([1, 2, 3, 4] * 25) == 200.0


def test_unequal_tokens_by_hand() -> None:
    # Shares 3/4 and 1/4.
    expected = -(3 * math.log2(0.75) + math.log2(0.25))
    assert math.isclose(unigram_bits([7, 7, 9, 7]), expected, rel_tol=1e-15)


def test_one_token_over_and_over_costs_nothing_and_so_does_no_text() -> None:
    assert unigram_bits([5] * 10) == 0.0
    assert unigram_bits([]) == 0.0


def test_zstd_finds_repetition_and_no_order_in_noise() -> None:
    noise = hashlib.shake_128(b"noise").digest(4000)
    assert 8 * 4000 < zstd_bits(noise) < 8 * 4100
    assert zstd_bits(noise * 10) < 1.1 * zstd_bits(noise)
