"""Muon's update has singular values near one, whichever way the matrix lies."""

import pytest
import torch

from train.muon import orthogonalize, size_factor


def gradient(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(5)) * 1e-3


@pytest.mark.parametrize(("rows", "columns"), [(48, 48), (32, 128), (128, 32)])
def test_singular_values_come_near_one_and_the_vectors_stay(rows: int, columns: int) -> None:
    found = orthogonalize(gradient(rows, columns), iterations=5)
    values = torch.linalg.svdvals(found)
    assert found.shape == (rows, columns) and found.is_contiguous()
    # The polynomial brings what is above about 1/1000 of the norm to 0.7 .. 1.2; the smallest of a square lie below.
    assert values[0] < 1.3 and values[: min(rows, columns) * 3 // 4].min() > 0.6
    left, _, right = torch.linalg.svd(gradient(rows, columns), full_matrices=False)
    turned = left.T @ found @ right.T
    off = turned - torch.diag(torch.diagonal(turned))
    assert off.abs().max() < 1e-3


def test_without_iterations_only_the_size_changes() -> None:
    matrix = gradient(8, 16)
    torch.testing.assert_close(orthogonalize(matrix, iterations=0), matrix / matrix.norm(), rtol=1e-4, atol=1e-6)


def test_a_matrix_of_zeros_stays_zero() -> None:
    assert not orthogonalize(torch.zeros(4, 8), iterations=5).any()


def test_a_tall_matrix_moves_further() -> None:
    assert size_factor((64, 16)) == 2.0
    assert size_factor((16, 64)) == size_factor((16, 16)) == 1.0
