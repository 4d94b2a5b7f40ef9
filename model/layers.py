"""The parts of a block that look at one position alone: products, root-mean-square norm and gated feed-forward.

Weights are fp32. With a narrow type given, a product's operands are cast to it explicitly, nothing by autocast; the
gradient of a weight comes out of the cast in fp32 again.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.profile import Compute
from model.config import ModelConfig

NARROW = {Compute.FP32: None, Compute.BF16: torch.bfloat16}


def narrowed(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor in a type; as it is with None."""
    return x if dtype is None else x.to(dtype)


class Linear(nn.Linear):
    """x W^T in a given type, or in that of its operands."""

    def __init__(self, in_features: int, out_features: int, *, dtype: torch.dtype | None) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.product_dtype = dtype

    def forward(self, x_BTD: Tensor) -> Tensor:
        return functional.linear(narrowed(x_BTD, self.product_dtype), narrowed(self.weight, self.product_dtype))


class RMSNorm(nn.Module):
    """Divide by the root mean square over the width, then scale (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4)."""

    def __init__(self, dim: int, *, eps: float, dtype: torch.dtype | None = None) -> None:
        """`dtype` is what comes out; the norm itself is taken in the type of the weight."""
        super().__init__()
        self.eps = eps
        self.product_dtype = dtype
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD.to(self.weight.dtype)
        # By rsqrt, which is a division by an IEEE square root; torch.sqrt differs between makers of CPUs.
        scale_BT1 = torch.rsqrt((x_BTD * x_BTD).mean(-1, keepdim=True) + self.eps)
        return narrowed(self.weight * (x_BTD * scale_BT1), self.product_dtype)


class FeedForward(nn.Module):
    """w2(silu(w1 x) * w3 x): SwiGLU (Shazeer 2020, arXiv:2002.05202, eq. 6)."""

    def __init__(self, config: ModelConfig, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.w1 = Linear(config.dim, config.ffn_dim, dtype=dtype)
        self.w2 = Linear(config.ffn_dim, config.dim, dtype=dtype)
        self.w3 = Linear(config.dim, config.ffn_dim, dtype=dtype)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.w2(functional.silu(self.w1(x_BTD)) * self.w3(x_BTD))
        return y_BTD
