"""What text costs without a model: the entropy of its tokens, and xz.

The entropy is that of the scored text's own token counts: the code table comes free, so no code of single tokens can
do better. xz stands for what general compression does; it sees the documents of a source one after the other.
"""

import lzma
from collections import Counter
from collections.abc import Iterable

import mpmath

XZ_PRESET = 9 | lzma.PRESET_EXTREME
PRECISION_BITS = 96


def unigram_bits(tokens: Iterable[int]) -> float:
    """Bits of all tokens together under their own frequencies: N log2 N - sum over pieces of c log2 c.

    By mpmath, since a C library's logarithm may differ in the last bit between machines.
    """
    counts = Counter(tokens)
    with mpmath.workprec(PRECISION_BITS):
        whole = _weighted_log2(counts.total())
        parts = [many * _weighted_log2(count) for count, many in Counter(counts.values()).items()]
        return float(whole - mpmath.fsum(parts))


def xz_bits(text: bytes) -> int:
    """Bits of a text under xz's highest preset. The size depends on liblzma's version, by little if at all."""
    return 8 * len(lzma.compress(text, preset=XZ_PRESET))


def _weighted_log2(count: int) -> "mpmath.mpf":
    return count * mpmath.log(count, 2) if count else mpmath.mpf(0)
