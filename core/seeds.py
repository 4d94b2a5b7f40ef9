"""Randomness as a pure function of a seed and names: no generator, no state, the same on every machine.

The bytes are SHAKE-128 (FIPS 202) of the seed and the names; a chunk of a long stream can be made alone.
"""

import hashlib

STREAM_CHUNK_BYTES = 1 << 20

Name = str | int


# What is drawn is absorbed first, so that a child seed is never the beginning of a stream of the same names.
SEED, STREAM = "seed", "stream"


def _absorb(what: str, seed: int, names: tuple[Name, ...]) -> bytes:
    parts = [what, str(seed), *(f"{type(name).__name__}:{name}" for name in names)]
    return b"".join(len(part).to_bytes(8, "little") + part for part in (text.encode() for text in parts))


def derive_seed(seed: int, *names: Name) -> int:
    """A child seed of 64 bits, named; children with different names are independent."""
    return int.from_bytes(hashlib.shake_128(_absorb(SEED, seed, names)).digest(8), "little")


def random_bytes(seed: int, *names: Name, count: int) -> bytes:
    """The first `count` bytes of the named stream."""
    chunks = []
    for index in range(-(-count // STREAM_CHUNK_BYTES)):
        size = min(STREAM_CHUNK_BYTES, count - index * STREAM_CHUNK_BYTES)
        chunks.append(hashlib.shake_128(_absorb(STREAM, seed, (*names, index))).digest(size))
    return b"".join(chunks)
