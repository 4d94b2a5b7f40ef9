"""Rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34) in Hugging Face's convention.

Pair i of a head is (x[i], x[i + K/2]), not (x[2i], x[2i+1]) as in the paper, so that an export needs no permutation.
Angles are rounded to fp32 exactly where transformers rounds them. Their cosines and sines come from mpmath, which
works on integers: a C library, and torch with it, may give other bits on another machine.
"""

from functools import cache

import mpmath
import numpy as np
import torch
from torch import Tensor

PRECISION_BITS = 80


@cache
def rotation_tables(*, head_dim: int, theta: float, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [T, K/2] in fp32 of the angles t theta^(-2i/K), for positions 0 to length - 1.

    About 25 microseconds an entry, once a process.
    """
    angles = np.outer(np.arange(length, dtype=np.float32), _frequencies(head_dim, theta))
    with mpmath.workprec(PRECISION_BITS):
        pairs = [mpmath.cos_sin(mpmath.mpf(float(angle))) for angle in angles.ravel()]
    cos = np.array([float(cos) for cos, _ in pairs]).astype(np.float32).reshape(angles.shape)
    sin = np.array([float(sin) for _, sin in pairs]).astype(np.float32).reshape(angles.shape)
    # A table first made in inference mode could not be used in training afterwards.
    with torch.inference_mode(False):
        return torch.from_numpy(cos), torch.from_numpy(sin)


def rotate(x_BHTK: Tensor, *, cos_TK: Tensor, sin_TK: Tensor) -> Tensor:
    """Turn each pair of a head by its position's angle; the tables are half as wide as a head."""
    left, right = x_BHTK.chunk(2, dim=-1)
    return torch.cat([left * cos_TK - right * sin_TK, right * cos_TK + left * sin_TK], dim=-1)


def _frequencies(head_dim: int, theta: float) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    with mpmath.workprec(PRECISION_BITS):
        powers = [float(mpmath.mpf(theta) ** mpmath.mpf(float(exponent))) for exponent in exponents]
    return np.float32(1.0) / np.array(powers).astype(np.float32)
