"""How one tensor is merged of several: in fp64, element by element in a fixed order, and rounded to fp32 once.

    linear            sum of w_i x_i / sum of w_i (Wortsman et al. 2022, arXiv:2203.05482; of one run's checkpoints:
                      Kaddour 2022, arXiv:2209.14981)
    slerp             along the great circle between two (Shoemake 1985, SIGGRAPH, section 3.3), each tensor as one
                      vector; where they are nearly parallel, or one is zero, along the straight line
    task_arithmetic   base + scale x sum of w_i (x_i - base) (Ilharco et al. 2022, arXiv:2212.04089)
    ties              of each difference from the base the largest `density`, the sign that has more mass, and the
                      weighted mean of those with that sign (Yadav et al. 2023, arXiv:2306.01708). They trim the whole
                      model at once; here each tensor alone, as mergekit does, so that one is in memory at a time

Only sums, products and comparisons of single elements are asked of numpy, which IEEE 754 defines: so the same bits on
every CPU. Sums over a tensor are halved again and again, element by element, for the same reason. The angle of slerp
and its sines are computed in decimals of 50 digits and rounded once, since the last bit of a C library's is its own.
"""

import math
from collections.abc import Sequence
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from posttrain.config import MergeConfig, Method

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

# Beyond this cosine the sine of the angle is too small to divide by.
PARALLEL = 0.9995
# Of decimals: far beyond a double's 17, so that rounding errors do not reach it.
DIGITS, ROUNDS, SMALLEST = 50, 3, Decimal("1e-45")


def merge_tensors(tensors: Sequence[Floats], config: MergeConfig) -> Floats:
    """One tensor of the merged model, of the base's (where there is one) and the models' in their order."""
    wide = [tensor.astype(np.float64) for tensor in tensors]
    weights = [model.weight for model in config.models]
    match config.method:
        case Method.LINEAR:
            merged = _sum(wide, weights) / math.fsum(weights)
        case Method.SLERP:
            merged = slerp(wide[0], wide[1], position=config.position)
        case Method.TASK_ARITHMETIC:
            base, *models = wide
            merged = base + config.scale * _sum([model - base for model in models], weights)
        case Method.TIES:
            base, *models = wide
            merged = base + config.scale * ties([model - base for model in models], weights, density=config.density)
    return merged.astype(np.float32)


def slerp(first: Doubles, second: Doubles, *, position: float) -> Doubles:
    """The point at `position` between two tensors, taken as vectors."""
    lengths = [math.sqrt(tree_sum(one * one)) for one in (first, second)]
    cosine = tree_sum(first * second) / (lengths[0] * lengths[1]) if all(lengths) else 1.0
    if abs(cosine) > PARALLEL:
        return (1 - position) * first + position * second
    shares = slerp_shares(cosine, position)
    return shares[0] * first + shares[1] * second


def slerp_shares(cosine: float, position: float) -> tuple[float, float]:
    """sin((1-p) a) / sin(a) and sin(p a) / sin(a) for the angle a of a cosine, the same on every machine."""
    with localcontext() as context:
        context.prec = DIGITS
        angle, wanted = Decimal(math.acos(cosine)), Decimal(cosine)
        # Newton's method: each round doubles the right digits of the C library's angle.
        for _ in range(ROUNDS):
            angle += (_series(angle, Decimal(1), first=0) - wanted) / _series(angle, angle, first=1)
        whole, part = _series(angle, angle, first=1), angle * Decimal(position)
        rest = angle - part
        return float(_series(rest, rest, first=1) / whole), float(_series(part, part, first=1) / whole)


def _series(angle: Decimal, term: Decimal, *, first: int) -> Decimal:
    """The Taylor series of the cosine (first 0, term 1) or the sine (first 1, term the angle)."""
    total, power = Decimal(0), first
    while abs(term) > SMALLEST:
        total += term
        term *= -angle * angle / ((power + 1) * (power + 2))
        power += 2
    return total


def ties(differences: Sequence[Doubles], weights: Sequence[float], *, density: float) -> Doubles:
    """Trim, elect a sign for each element, and take the weighted mean of those that have it."""
    trimmed = [trim(one, density=density) for one in differences]
    elected = np.sign(_sum(trimmed, weights))
    agreeing = [np.where(np.sign(one) == elected, one, 0.0) for one in trimmed]
    counted = _sum([(one != 0).astype(np.float64) for one in agreeing], weights)
    summed = _sum(agreeing, weights)
    return np.divide(summed, counted, out=np.zeros_like(summed), where=counted != 0)


def trim(difference: Doubles, *, density: float) -> Doubles:
    """Keep the largest elements by magnitude, a share of `density` and at least one; of equals the first."""
    flat = difference.reshape(-1)
    kept = max(1, math.ceil(density * flat.size))
    order = np.argsort(-np.abs(flat), kind="stable")[:kept]
    trimmed = np.zeros_like(flat)
    trimmed[order] = flat[order]
    return trimmed.reshape(difference.shape)


def tree_sum(values: Doubles) -> float:
    """The sum of all elements, by adding halves: the same bits however wide the machine's vectors are."""
    flat = values.reshape(-1)
    while flat.size > 1:
        half = flat.size // 2
        rest = flat[2 * half :]
        flat = np.concatenate([flat[:half] + flat[half : 2 * half], rest])
    return float(flat[0]) if flat.size else 0.0


def _sum(tensors: Sequence[Doubles], weights: Sequence[float]) -> Doubles:
    total = np.zeros_like(tensors[0])
    for tensor, weight in zip(tensors, weights, strict=True):
        total = total + weight * tensor
    return total
