"""Muon's update: a matrix with the singular values brought near 1, by five matrix polynomials and no decomposition.

Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". A matrix product's bits may depend on how
many rows it has, so a matrix is always taken whole, on one rank (owners.py).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# Coefficients of the odd polynomial that Jordan et al. tuned for slope at zero, not for convergence.
A, B, C = 3.4445, -4.7750, 2.0315
EPS = 1e-7


def orthogonalize(matrix: Tensor, *, iterations: int) -> Tensor:
    """A matrix [rows, columns] with nearly the same singular vectors and singular values between about 0.7 and 1.2."""
    is_tall = matrix.shape[0] > matrix.shape[1]
    x_RC = matrix.T.contiguous() if is_tall else matrix
    # The norm by a float64 sum and the C library's correctly rounded square root: torch.sqrt differs between vendors.
    x_RC = x_RC / (math.sqrt(float(x_RC.double().square().sum())) + EPS)
    for _ in range(iterations):
        gram_RR = x_RC @ x_RC.T
        x_RC = torch.addmm(x_RC, B * gram_RR + C * (gram_RR @ gram_RR), x_RC, beta=A)
    return x_RC.T.contiguous() if is_tall else x_RC


def size_factor(shape: Sequence[int]) -> float:
    """What the update of a [rows, columns] matrix is multiplied by: sqrt(rows / columns), and 1 for a wide one."""
    rows, columns = shape
    return math.sqrt(max(1.0, rows / columns))
