"""Rotation tables against the formula, and the property that makes rotation a position embedding."""

import math

import torch

from model.rotary import rotate, rotation_tables


def test_tables_hold_cosines_and_sines_of_position_times_frequency() -> None:
    cos_TK, sin_TK = rotation_tables(head_dim=4, theta=100.0, length=8)
    # theta^(-2i/K) for i = 0, 1: 1 and 1/10.
    assert cos_TK.shape == (8, 2) and cos_TK.dtype == torch.float32
    expected = torch.tensor([[math.cos(t), math.cos(t / 10)] for t in range(8)])
    # An angle of at most 8 rounded to fp32 is off by at most 2^-22.
    torch.testing.assert_close(cos_TK, expected, rtol=0, atol=2**-22 + 2**-24)
    torch.testing.assert_close(sin_TK[3], torch.tensor([math.sin(3.0), math.sin(0.3)]), rtol=0, atol=2**-22)


def test_a_pair_is_turned_by_its_angle() -> None:
    x_BHTK = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    quarter, none = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    # Pair 0 is (1, 3), turned a quarter: (-3, 1). Pair 1 is (2, 4), not turned.
    assert rotate(x_BHTK, cos_TK=quarter, sin_TK=none).flatten().tolist() == [-3.0, 2.0, 1.0, 4.0]


def test_a_product_of_rotated_vectors_depends_on_their_distance_alone() -> None:
    cos_TK, sin_TK = rotation_tables(head_dim=8, theta=10000.0, length=64)
    q_K, k_K = torch.linspace(-1, 1, 8), torch.linspace(2, -1, 8)

    def product(at: int, other: int) -> float:
        turned_q = rotate(q_K.view(1, 1, 1, 8), cos_TK=cos_TK[at : at + 1], sin_TK=sin_TK[at : at + 1])
        turned_k = rotate(k_K.view(1, 1, 1, 8), cos_TK=cos_TK[other : other + 1], sin_TK=sin_TK[other : other + 1])
        return float((turned_q * turned_k).sum())

    # Angles up to 64 are rounded at 2^-19 (6e-6 after adding up eight products of size 2).
    assert math.isclose(product(5, 2), product(60, 57), abs_tol=3e-5)
    assert not math.isclose(product(5, 2), product(5, 3), abs_tol=1e-2)


def test_a_table_first_made_in_inference_mode_still_trains() -> None:
    with torch.inference_mode():
        cos_TK, sin_TK = rotation_tables(head_dim=6, theta=123.0, length=4)
    x_BHTK = torch.ones(1, 1, 4, 6, requires_grad=True)
    rotate(x_BHTK, cos_TK=cos_TK, sin_TK=sin_TK).sum().backward()  # type: ignore[no-untyped-call]
    assert x_BHTK.grad is not None
