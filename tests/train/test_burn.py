"""Matrix products as a test of a machine."""

import pytest
import torch
from torch import Tensor

from core.errors import DeterministicError
from train.burn import burn

SHAPES = [(64, 48, 32), (64, 32, 48)]


def test_the_same_products_give_one_hash_and_others_another() -> None:
    assert burn(SHAPES, rounds=3, is_narrow=False) == burn(SHAPES, rounds=1, is_narrow=False)
    assert burn(SHAPES, rounds=1, is_narrow=False) != burn(SHAPES, rounds=1, is_narrow=True)
    assert burn(SHAPES, rounds=1, is_narrow=False) != burn([(64, 48, 31)], rounds=1, is_narrow=False)


def test_a_machine_that_flips_one_bit_in_one_round_gives_itself_away() -> None:
    made = 0

    def flipping(left: Tensor, right: Tensor) -> Tensor:
        nonlocal made
        made += 1
        product = left @ right
        if made == 5:
            product.view(torch.int32)[3, 5] ^= 1
        return product

    with pytest.raises(DeterministicError, match=r"^round 3 of the same matrix products gave .*; this machine"):
        burn(SHAPES, rounds=4, is_narrow=False, multiply=flipping)
