"""The gradient's norm as an exact sum of integers: the same bits whatever the order, the sharding or the backend.

The square of an fp32 value is exact in float64. It is scaled by a power of two that the largest value of the whole
gradient decides, and cut into two integer limbs; what is below the second limb is dropped, value by value. Sums of
integers have no order. The cut is at 2^-76 of the largest square, far below the rounding of a float64 sum.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from core.errors import DeterministicError
from train.kernels import fused_square_limbs
from train.runtime import World

# A block's float64 work stays in the cache, and 2^15 integers below 2^38 add up to at most 2^53, exactly.
BLOCK_ELEMENTS = 1 << 15
# On a GPU, where a block costs a few kernels whatever its size, and sums are of integers.
GPU_BLOCK_ELEMENTS = 1 << 22
LIMB_BITS = 38
SUM_BITS = 62
SMALLEST_EXPONENT = -149
NOT_FINITE = 1 << 20


@dataclass(frozen=True, slots=True)
class Scale:
    """What decides where a square is cut: the exponent of the largest value, and the bits of a limb."""

    exponent: int
    limb_bits: int


def gradient_norm(
    gradients: Sequence[Tensor],
    *,
    names: Sequence[str],
    count: int,
    world: World,
    step: int,
    is_fused: bool = False,
) -> float:
    """L2 norm of a gradient of `count` values in pieces on all ranks; a rank gives its pieces and their names.

    `is_fused` takes the loop in C (kernels.py), which gives the same integers.
    Raises DeterministicError naming the step and the first parameter, in the order of names, that is not finite.
    """
    exponent = world.largest(max((largest_exponent(gradient) for gradient in gradients), default=SMALLEST_EXPONENT))
    if exponent == NOT_FINITE:
        bad = [name for name, gradient in zip(names, gradients, strict=True) if not gradient.isfinite().all()]
        everywhere = sorted(name for rank in world.collect(bad) for name in rank)
        raise DeterministicError(
            f"step {step}: the gradient of {everywhere[0]} is not finite ({len(everywhere)} parameters or shards are "
            "not); lower train.lr or lengthen train.warmup_steps"
        )
    scale = Scale(exponent, min(LIMB_BITS, SUM_BITS - count.bit_length()))
    limbs = torch.tensor(square_limbs(gradients, scale=scale, is_fused=is_fused), dtype=torch.int64)
    world.add_integers(limbs)
    high, low = limbs.tolist()
    return norm_of_limbs(high, low, scale=scale)


def largest_exponent(gradient: Tensor) -> int:
    """The smallest e with every |value| below 2^e, or NOT_FINITE."""
    if not gradient.numel():
        return SMALLEST_EXPONENT
    least, most = (float(extreme) for extreme in torch.aminmax(gradient))
    if not (math.isfinite(least) and math.isfinite(most)):
        return NOT_FINITE
    largest = max(-least, most)
    return math.frexp(largest)[1] if largest > 0 else SMALLEST_EXPONENT


def square_limbs(gradients: Sequence[Tensor], *, scale: Scale, is_fused: bool = False) -> tuple[int, int]:
    """Sums of the high and the low limbs of all squares."""
    high = low = 0
    upscale = 2.0**scale.limb_bits
    factor = math.ldexp(1.0, scale.limb_bits - 2 * scale.exponent)
    if is_fused:
        limbs = [fused_square_limbs(gradient, factor=factor, upscale=upscale) for gradient in gradients]
        return sum(high for high, _ in limbs), sum(low for _, low in limbs)
    if any(gradient.is_cuda for gradient in gradients):
        return integer_limbs(gradients, factor=factor, upscale=upscale)
    for gradient in gradients:
        for start in range(0, gradient.numel(), BLOCK_ELEMENTS):
            square = gradient[start : start + BLOCK_ELEMENTS].double().square_().mul_(factor)
            whole = square.floor()
            high += int(whole.sum())
            low += int(square.sub_(whole).mul_(upscale).floor_().sum())
    return high, low


def integer_limbs(gradients: Sequence[Tensor], *, factor: float, upscale: float) -> tuple[int, int]:
    """The same integers as `square_limbs`, added on the gradients' device, which is waited for once."""
    sums: list[Tensor] = []
    for gradient in gradients:
        for start in range(0, gradient.numel(), GPU_BLOCK_ELEMENTS):
            square = gradient[start : start + GPU_BLOCK_ELEMENTS].double().square_().mul_(factor)
            whole = square.floor()
            rest = square.sub_(whole).mul_(upscale).floor_()
            sums.append(torch.stack([whole.long().sum(), rest.long().sum()]))
    high, low = torch.stack(sums).sum(0).tolist() if sums else (0, 0)
    return high, low


def norm_of_limbs(high: int, low: int, *, scale: Scale) -> float:
    """Square root of what the limbs stand for, rounded as IEEE 754 says: once to a double, once by the root."""
    square = Fraction((high << scale.limb_bits) + low) * Fraction(2) ** (2 * scale.exponent - 2 * scale.limb_bits)
    return math.sqrt(float(square))
