"""SHA-256 of four chunks at once is hashlib's, at every length, and is used only where a profile has a compiler."""

import os
from collections.abc import Iterator

import pytest

from core.errors import ConfigError
from core.merkle import CHUNK_BYTES, leaf_hash
from core.profile import ProfileConfig, cpu_flags
from train import hashes
from train.hashes import LEAST_BYTES, NEEDED, hash_in_lanes, hashed, leaf_hashes
from train.recipe import read_recipe

needs_instructions = pytest.mark.skipif(
    not set(cpu_flags()) >= NEEDED, reason="this CPU has no instructions for SHA-256"
)


def profile_of(name: str) -> ProfileConfig:
    return read_recipe("smoke", [f"profile={name}"]).profile


@pytest.fixture
def lanes() -> Iterator[None]:
    """Four at once, for a while."""
    hash_in_lanes(profile_of("native"))
    assert hashes._Chosen.library
    yield
    hash_in_lanes(profile_of("portable"))
    assert hashes._Chosen.library is None


@needs_instructions
@pytest.mark.usefixtures("lanes")
def test_every_length_gives_hashlibs_leaves() -> None:
    for length in (*range(LEAST_BYTES, LEAST_BYTES + 130), CHUNK_BYTES):
        chunks = [memoryview(os.urandom(length)) for _ in range(4)]
        assert leaf_hashes(chunks) == [leaf_hash(chunk) for chunk in chunks], length


@needs_instructions
@pytest.mark.usefixtures("lanes")
def test_chunks_of_many_lengths_keep_their_order() -> None:
    lengths = [0, 1, 63, LEAST_BYTES, CHUNK_BYTES, 5000, LEAST_BYTES, CHUNK_BYTES, 0] * 5
    chunks = [memoryview(os.urandom(length)) for length in lengths]
    assert leaf_hashes(chunks) == hashed(chunks) == [leaf_hash(chunk) for chunk in chunks]


@needs_instructions
def test_a_loop_that_hashes_wrong_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "SOURCE", hashes.SOURCE.replace("0x428a2f98", "0x428a2f99"))
    with pytest.raises(ConfigError, match="hashlib"):
        hash_in_lanes(profile_of("native"))
    assert hashes._Chosen.library is None
