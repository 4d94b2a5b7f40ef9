"""SHA-256 of many chunks: over the profile's threads, and where code is compiled, four chunks at once on each.

The CPU's own instructions for SHA-256 take four cycles and may begin every two, and each needs what the last one gave:
OpenSSL, which hashes one message at a time, keeps them half idle. Four messages of one length side by side took 0.6 of
the time on one core here (docs/performance.md). The hashes are SHA-256 (FIPS 180-4) either way, hashlib's to the bit.
"""

import ctypes
from collections.abc import Callable, Sequence
from itertools import chain, groupby

import numpy as np

from core.errors import ConfigError
from core.merkle import leaf_hash
from core.profile import ProfileConfig, cpu_flags
from train.native import compiled
from train.threads import in_threads

LANES = 4
DIGEST_BYTES = 32
# Shorter ones are not worth it.
LEAST_BYTES = 4096
NEEDED = {"sha_ni", "sse4_1", "ssse3"}
# Places of chunks in a list.
Group = list[int]
Act = Callable[[Group], list[bytes]]
SOURCE = """
#include <immintrin.h>
#include <cstdint>
#include <cstring>

alignas(16) static const uint32_t CONSTANTS[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
static const uint32_t START[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
constexpr int LANES = 4, BLOCK = 64;

// `count` blocks of each lane, four rounds at a time; the state is kept as the instructions want it, ABEF and CDGH.
static void take_blocks(__m128i *abef, __m128i *cdgh, const uint8_t *const *data, int64_t count) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bULL, 0x0405060700010203ULL);
    for (int64_t block = 0; block < count; block++) {
        __m128i words[LANES][4], abef0[LANES], cdgh0[LANES];
        for (int n = 0; n < LANES; n++) {
            abef0[n] = abef[n];
            cdgh0[n] = cdgh[n];
            for (int i = 0; i < 4; i++)
                words[n][i] = _mm_shuffle_epi8(
                    _mm_loadu_si128((const __m128i *)(data[n] + block * BLOCK + 16 * i)), swap);
        }
#pragma GCC unroll 16
        for (int r = 0; r < 16; r++)
            for (int n = 0; n < LANES; n++) {
                __m128i *w = words[n], four = _mm_load_si128((const __m128i *)&CONSTANTS[4 * r]);
                __m128i sum = _mm_add_epi32(w[r & 3], four);
                cdgh[n] = _mm_sha256rnds2_epu32(cdgh[n], abef[n], sum);
                abef[n] = _mm_sha256rnds2_epu32(abef[n], cdgh[n], _mm_shuffle_epi32(sum, 0x0E));
                if (r < 12) {
                    __m128i next = _mm_sha256msg1_epu32(w[r & 3], w[(r + 1) & 3]);
                    next = _mm_add_epi32(next, _mm_alignr_epi8(w[(r + 3) & 3], w[(r + 2) & 3], 4));
                    w[r & 3] = _mm_sha256msg2_epu32(next, w[(r + 3) & 3]);
                }
            }
        for (int n = 0; n < LANES; n++) {
            abef[n] = _mm_add_epi32(abef[n], abef0[n]);
            cdgh[n] = _mm_add_epi32(cdgh[n], cdgh0[n]);
        }
    }
}

// SHA-256 of a zero byte and `length` bytes, at least 63, of each lane.
extern "C" void leaf_hashes(const uint8_t *const *data, int64_t length, uint8_t *digests) {
    uint8_t room[LANES][2 * BLOCK];
    const uint8_t *at[LANES];
    __m128i abef[LANES], cdgh[LANES];
    for (int n = 0; n < LANES; n++) {
        abef[n] = _mm_set_epi32(START[0], START[1], START[4], START[5]);
        cdgh[n] = _mm_set_epi32(START[2], START[3], START[6], START[7]);
        room[n][0] = 0;
        memcpy(room[n] + 1, data[n], BLOCK - 1);
        at[n] = room[n];
    }
    take_blocks(abef, cdgh, at, 1);
    int64_t whole = (length - (BLOCK - 1)) / BLOCK, left = (length - (BLOCK - 1)) % BLOCK;
    for (int n = 0; n < LANES; n++) at[n] = data[n] + BLOCK - 1;
    take_blocks(abef, cdgh, at, whole);
    int64_t ending = left + 9 > BLOCK ? 2 : 1;
    uint64_t bits = 8 * (uint64_t)(length + 1);
    for (int n = 0; n < LANES; n++) {
        memset(room[n], 0, sizeof room[n]);
        memcpy(room[n], data[n] + length - left, left);
        room[n][left] = 0x80;
        for (int i = 0; i < 8; i++) room[n][ending * BLOCK - 1 - i] = (uint8_t)(bits >> (8 * i));
        at[n] = room[n];
    }
    take_blocks(abef, cdgh, at, ending);
    for (int n = 0; n < LANES; n++) {
        uint32_t low[4], high[4];
        _mm_storeu_si128((__m128i *)low, abef[n]);
        _mm_storeu_si128((__m128i *)high, cdgh[n]);
        const uint32_t state[8] = {low[3], low[2], high[3], high[2], low[1], low[0], high[1], high[0]};
        for (int i = 0; i < 8; i++)
            for (int k = 0; k < 4; k++) digests[32 * n + 4 * i + k] = (uint8_t)(state[i] >> (24 - 8 * k));
    }
}
"""


class _Chosen:
    """What this process hashes with: hashlib, until `hash_in_lanes` has found better."""

    library: ctypes.CDLL | None = None


def hash_in_lanes(profile: ProfileConfig) -> None:
    """Take the loop in C from now on, where the profile has a compiler and the CPU the instructions.

    Raises ConfigError if it gives other hashes than hashlib.
    """
    is_wanted = profile.is_update_fused and set(cpu_flags()) >= NEEDED
    _Chosen.library = compiled(SOURCE) if is_wanted else None
    if _Chosen.library:
        _Chosen.library.leaf_hashes.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
        _Chosen.library.leaf_hashes.restype = None
        sample = [memoryview(bytes(range(first, 256)) * 20) for first in range(1, 1 + LANES)]
        same = [one[: LEAST_BYTES + 3] for one in sample]
        if _four(same) != [leaf_hash(one) for one in same]:
            _Chosen.library = None
            raise ConfigError(
                "the compiled SHA-256 differs from hashlib's; mend the compiler, or set profile.is_update_fused=false"
            )


def leaf_hashes(chunks: Sequence[memoryview]) -> list[bytes]:
    """`core.merkle.leaf_hash` of every chunk, in their order, on the profile's threads."""
    return _by_groups(chunks, in_threads)


def hashed(chunks: Sequence[memoryview]) -> list[bytes]:
    """The same on this thread alone, for who works beside the training."""
    return _by_groups(chunks, lambda act, items: [act(item) for item in items])


def _by_groups(chunks: Sequence[memoryview], over: Callable[[Act, Sequence[Group]], list[list[bytes]]]) -> list[bytes]:
    """Hash four chunks of one length at a time, and what is left one by one."""
    groups: list[Group] = []
    by_length = sorted(range(len(chunks)), key=lambda at: len(chunks[at]))
    for length, found in groupby(by_length, key=lambda at: len(chunks[at])):
        same = list(found)
        size = LANES if _Chosen.library and length >= LEAST_BYTES else 1
        groups += [same[at : at + size] for at in range(0, len(same), size)]
    leaves = chain.from_iterable(over(lambda group: _few([chunks[at] for at in group]), groups))
    by_place = dict(zip(chain.from_iterable(groups), leaves, strict=True))
    return [by_place[at] for at in range(len(chunks))]


def _few(chunks: Sequence[memoryview]) -> list[bytes]:
    """Of up to four chunks, all of one length if four."""
    return _four(chunks) if len(chunks) == LANES else [leaf_hash(chunk) for chunk in chunks]


def _four(chunks: Sequence[memoryview]) -> list[bytes]:
    assert _Chosen.library and len(chunks) == LANES and len({len(chunk) for chunk in chunks}) == 1
    content = [np.frombuffer(chunk, dtype=np.uint8) for chunk in chunks]
    places = (ctypes.c_void_p * LANES)(*(one.ctypes.data for one in content))
    digests = ctypes.create_string_buffer(LANES * DIGEST_BYTES)
    _Chosen.library.leaf_hashes(places, len(chunks[0]), digests)
    return [digests.raw[at : at + DIGEST_BYTES] for at in range(0, LANES * DIGEST_BYTES, DIGEST_BYTES)]
