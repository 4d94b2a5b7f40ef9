"""The parts of a block that look at one position alone: root-mean-square norm and gated feed-forward."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.config import ModelConfig


class RMSNorm(nn.Module):
    """Divide by the root mean square over the width, then scale (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4)."""

    def __init__(self, dim: int, *, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x_BTD: Tensor) -> Tensor:
        # By rsqrt, which is a division by an IEEE square root; torch.sqrt differs between makers of CPUs.
        scale_BT1 = torch.rsqrt((x_BTD * x_BTD).mean(-1, keepdim=True) + self.eps)
        return self.weight * (x_BTD * scale_BT1)


class FeedForward(nn.Module):
    """w2(silu(w1 x) * w3 x): SwiGLU (Shazeer 2020, arXiv:2002.05202, eq. 6)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.w2 = nn.Linear(config.ffn_dim, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.ffn_dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTD: Tensor = self.w2(functional.silu(self.w1(x_BTD)) * self.w3(x_BTD))
        return y_BTD
