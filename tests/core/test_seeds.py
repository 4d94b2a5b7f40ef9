"""Randomness as a pure function: pinned, prefix-stable, different under every name."""

from core.seeds import STREAM_CHUNK_BYTES, derive_seed, random_bytes


def test_the_values_are_pinned() -> None:
    # Written by this very code: a change here changes every initial weight and every data order.
    assert derive_seed(1, "model", 3) == 3675859788646202199
    assert random_bytes(1, "model", 3, count=8).hex() == "e7fe7efd6a8f28e2"


def test_every_seed_and_name_has_its_own_stream() -> None:
    calls = [
        (1, "a"),
        (2, "a"),
        (1, "b"),
        (1, "a", "b"),
        (1, "ab"),
        (1, "a", 1),
        (1, "a", "1"),
        (1, 1),
        (11,),
        (1,),
        (-1,),
    ]
    assert len({derive_seed(*call) for call in calls}) == len(calls)  # type: ignore[arg-type]
    assert len({random_bytes(*call, count=16) for call in calls}) == len(calls)  # type: ignore[arg-type]


def test_a_shorter_stream_is_the_beginning_of_a_longer_one() -> None:
    long = random_bytes(7, "x", count=STREAM_CHUNK_BYTES + 100)
    assert len(long) == STREAM_CHUNK_BYTES + 100
    for count in (0, 1, 99, STREAM_CHUNK_BYTES, STREAM_CHUNK_BYTES + 1):
        assert random_bytes(7, "x", count=count) == long[:count]


def test_the_bits_are_balanced() -> None:
    ones = sum(byte.bit_count() for byte in random_bytes(3, "bits", count=1 << 16))
    # 4 standard deviations of a fair coin thrown 2^19 times.
    assert abs(ones - (1 << 18)) < 4 * (1 << 19) ** 0.5 / 2
