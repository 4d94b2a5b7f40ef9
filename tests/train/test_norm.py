"""The gradient's norm: exact, and the same bits whatever the split."""

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from core.errors import DeterministicError
from train.norm import (
    BLOCK_ELEMENTS,
    LIMB_BITS,
    NOT_FINITE,
    SMALLEST_EXPONENT,
    Scale,
    gradient_norm,
    integer_limbs,
    largest_exponent,
    norm_of_limbs,
    square_limbs,
)
from train.runtime import World

ALONE = World(rank=0, size=1, device="cpu")
COUNT = 3 * BLOCK_ELEMENTS + 77


def values(count: int = COUNT) -> Tensor:
    """Values over 20 orders of magnitude, so that a sum in another order would round differently."""
    source = torch.Generator().manual_seed(5)
    return torch.randn(count, generator=source) * 10.0 ** torch.randint(-18, 3, (count,), generator=source)


def norm(*pieces: Tensor) -> float:
    names = [f"p{number}" for number in range(len(pieces))]
    count = sum(piece.numel() for piece in pieces)
    return gradient_norm(pieces, names=names, count=count, world=ALONE, step=1)


def test_the_norm_is_that_of_exact_arithmetic() -> None:
    gradient = values(3000)
    exact = sum(Fraction(value) ** 2 for value in gradient.tolist())
    assert norm(gradient) == pytest.approx(math.sqrt(exact), rel=4e-16)
    assert norm(torch.tensor([3.0, 4.0])) == 5.0


@pytest.mark.parametrize("cuts", [[1], [COUNT - 1], [BLOCK_ELEMENTS], [5, 6, 7, 40_000], list(range(0, COUNT, 997))])
def test_no_split_changes_a_bit(cuts: list[int]) -> None:
    gradient = values()
    pieces = torch.tensor_split(gradient, cuts)
    assert norm(*pieces).hex() == norm(gradient).hex()
    assert norm(*reversed(pieces)).hex() == norm(gradient).hex()


def test_floating_point_sums_do_see_the_split() -> None:
    gradient = values()
    seen = {float(torch.stack([piece.norm() for piece in gradient.chunk(parts)]).norm()) for parts in range(1, 9)}
    assert len(seen) > 1


def test_the_sums_that_a_gpu_takes_are_the_same_integers() -> None:
    pieces = [values(), values(5), torch.empty(0)]
    scale = Scale(largest_exponent(pieces[0]), LIMB_BITS)
    factor, upscale = math.ldexp(1.0, scale.limb_bits - 2 * scale.exponent), 2.0**scale.limb_bits
    assert integer_limbs(pieces, factor=factor, upscale=upscale) == square_limbs(pieces, scale=scale)
    assert integer_limbs([], factor=factor, upscale=upscale) == (0, 0)


@pytest.mark.parametrize("extreme", [3.4e38, 1e-45, 1.2e-38])
def test_the_whole_range_of_fp32_is_covered(extreme: float) -> None:
    gradient = torch.tensor([extreme, -extreme, 0.0, extreme])
    assert norm(gradient) == pytest.approx(math.sqrt(3) * float(gradient[0]), rel=1e-15)


def test_nothing_and_zeros_have_norm_zero() -> None:
    assert norm(torch.zeros(5)) == 0.0
    assert norm(torch.zeros(0), torch.zeros(0)) == 0.0


def test_a_full_block_of_the_largest_values_adds_up_exactly() -> None:
    gradient = torch.ones(BLOCK_ELEMENTS) * float(torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)))
    scale = Scale(largest_exponent(gradient), LIMB_BITS)
    high, low = square_limbs([gradient], scale=scale)
    exact = Fraction(float(gradient[0])) ** 2 * BLOCK_ELEMENTS
    assert norm_of_limbs(high, low, scale=scale) == math.sqrt(exact)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_named(bad: float) -> None:
    gradient = values(100)
    gradient[42] = bad
    assert largest_exponent(gradient) == NOT_FINITE
    with pytest.raises(DeterministicError, match=r"step 1: the gradient of p1 is not finite"):
        norm(values(10), gradient)


def test_the_exponent_bounds_every_value() -> None:
    assert largest_exponent(torch.tensor([0.5, -1.0])) == 1
    assert largest_exponent(torch.tensor([0.99])) == 0
    assert largest_exponent(torch.zeros(3)) == SMALLEST_EXPONENT
