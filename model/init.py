"""Initial weights as a pure function of seed, tensor name and position: any rank may make any tensor.

A value is the sum of twelve 16-bit integers (Irwin-Hall), which is near enough to normal and needs no logarithm,
cosine or square root of a value: no library decides a bit. Its tails end at six standard deviations.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from core.seeds import random_bytes

TERMS = 12
TERM_VALUES = 1 << 16
# Elements made at a time: 1.5 MiB of random bytes.
PIECE_ELEMENTS = 1 << 16
BLOCKS = "blocks."
RESIDUAL_OUTPUTS = ("attention.wo.weight", "feed_forward.w2.weight")


def initialize(model: nn.Module, *, seed: int, std: float, width_factor: float = 1.0) -> None:
    """Fill every parameter of a Transformer in place: norms with 1, matrices as `initial_tensor` says.

    What is added to the residual stream (wo, w2) is scaled by 1/sqrt(2 n_layers), so that the stream's variance
    does not grow with depth (Radford et al. 2019, section 2.3). The matrices of the blocks, whose inputs grow with the
    width, are scaled by 1/sqrt(width_factor) (Yang et al. 2022, arXiv:2203.03466, table 8).
    """
    n_residuals = sum(name.endswith(RESIDUAL_OUTPUTS) for name, _ in model.named_parameters())
    inner_std = std / math.sqrt(width_factor)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0)
            else:
                scale = inner_std if name.startswith(BLOCKS) else std
                scale = scale / math.sqrt(n_residuals) if name.endswith(RESIDUAL_OUTPUTS) else scale
                parameter.copy_(initial_tensor(name, parameter.shape, seed=seed, std=scale))


def initial_tensor(name: str, shape: torch.Size, *, seed: int, std: float) -> Tensor:
    """An fp32 tensor of normal values with mean 0 and standard deviation `std`, random from (seed, name)."""
    values = np.empty(shape.numel(), dtype=np.float32)
    for index, start in enumerate(range(0, values.size, PIECE_ELEMENTS)):
        piece = values[start : start + PIECE_ELEMENTS]
        terms = np.frombuffer(random_bytes(seed, "init", name, index, count=2 * TERMS * piece.size), dtype="<u2")
        # Centred integers; their variance is TERM_VALUES^2 - 1, so division by TERM_VALUES gives 1 within 2e-10.
        sums = terms.reshape(piece.size, TERMS).sum(axis=1, dtype=np.int64) - TERMS * (TERM_VALUES - 1) // 2
        piece[:] = sums.astype(np.float64) * (std / TERM_VALUES)
    return torch.from_numpy(values).view(shape)
