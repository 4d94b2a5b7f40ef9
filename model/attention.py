"""Causal grouped-query attention within documents (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

Three kernels: `explicit` is plain products and a softmax, whose bits do not depend on a fused kernel's blocking;
`blocked` is the same for a few blocks of queries, each without the keys behind it; `sdpa` is torch's fused kernel.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.profile import Attention as Kernel
from model.config import ModelConfig
from model.layers import Linear, RMSNorm, narrowed
from model.rotary import rotate

# Blocks of queries, and the fewest queries in one. Four leave out 3/8 of all pairs and keep a compiled graph small;
# eight were slower on CPUs (docs/performance.md).
BLOCKS, LEAST_ROWS = 4, 128


@dataclass(slots=True)
class LayerCache:
    """Rotated keys and values of the positions that one layer has seen, [B, G, T, K]; empty at first."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def extend(self, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor]:
        """Append new positions and return all of them."""
        self.keys = [torch.cat([*self.keys, k_BGTK], dim=2)]
        self.values = [torch.cat([*self.values, v_BGTK], dim=2)]
        return self.keys[0], self.values[0]


@dataclass(slots=True)
class Context:
    """What every layer's attention needs to know of the positions: rotation tables [T, K/2] and who may see whom.

    `is_visible` is [B or 1, 1, new positions, all positions], True where attention is allowed.
    """

    cos: Tensor
    sin: Tensor
    is_visible: Tensor


def visibility(document_BT: Tensor | None, *, new: int, seen: int, device: torch.device | str = "cpu") -> Tensor:
    """Which positions each of `new` positions after `seen` others may attend to: earlier ones of its own document.

    `document_BT` numbers the document of every new position; without it all positions are one document. Documents
    and seen positions together are not supported: packed windows are never decoded step by step.
    """
    is_causal_TT = torch.ones(new, seen + new, dtype=torch.bool, device=device).tril(seen)
    if document_BT is None:
        return is_causal_TT[None, None]
    assert seen == 0
    is_same_BTT = document_BT[:, :, None] == document_BT[:, None, :]
    return (is_same_BTT & is_causal_TT)[:, None]


class Attention(nn.Module):
    """Attention over key-value heads that several query heads share; queries and keys are rotated."""

    def __init__(self, config: ModelConfig, kernel: Kernel, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.product_dtype = dtype
        self.head_dim = config.head_dim
        self._attend = ATTEND[kernel]
        self.wq = Linear(config.dim, config.dim, dtype=dtype)
        self.wk = Linear(config.dim, config.kv_dim, dtype=dtype)
        self.wv = Linear(config.dim, config.kv_dim, dtype=dtype)
        self.wo = Linear(config.dim, config.dim, dtype=dtype)
        self.q_norm = RMSNorm(config.head_dim, eps=config.norm_eps) if config.is_qk_normed else None
        self.k_norm = RMSNorm(config.head_dim, eps=config.norm_eps) if config.is_qk_normed else None

    def forward(self, x_BTD: Tensor, context: Context, cache: LayerCache | None = None) -> Tensor:
        q_BHTK, k_BGTK = self._heads(self.wq(x_BTD)), self._heads(self.wk(x_BTD))
        if self.q_norm and self.k_norm:
            q_BHTK, k_BGTK = self.q_norm(q_BHTK), self.k_norm(k_BGTK)
        # The tables are fp32, so that rotation is, whatever the products are.
        q_BHTK = narrowed(rotate(q_BHTK, cos_TK=context.cos, sin_TK=context.sin), self.product_dtype)
        k_BGTK = narrowed(rotate(k_BGTK, cos_TK=context.cos, sin_TK=context.sin), self.product_dtype)
        v_BGTK = self._heads(self.wv(x_BTD))
        if cache is not None:
            k_BGTK, v_BGTK = cache.extend(k_BGTK, v_BGTK)
        y_BHTK = self._attend(q_BHTK, k_BGTK, v_BGTK, context.is_visible)
        y_BTD: Tensor = self.wo(y_BHTK.transpose(1, 2).reshape(x_BTD.shape))
        return y_BTD

    def _heads(self, x_BTD: Tensor) -> Tensor:
        B, T, _ = x_BTD.shape
        return x_BTD.view(B, T, -1, self.head_dim).transpose(1, 2)


def attend_explicit(q_BHTK: Tensor, k_BGTK: Tensor, v_BGTK: Tensor, is_visible: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(K)) v in plain operations; query head h reads key-value head h // (H / G)."""
    B, H, T, K = q_BHTK.shape
    G = k_BGTK.shape[1]
    # All query heads of a key-value head stand below each other in one product, so no key is ever copied.
    q_BGRK = (q_BHTK * (1.0 / math.sqrt(K))).reshape(B, G, H // G * T, K)
    scores_BHTT = (q_BGRK @ k_BGTK.transpose(-1, -2)).view(B, H, T, -1)
    shares_BHTT = scores_BHTT.masked_fill(~is_visible, -math.inf).softmax(-1)
    return (shares_BHTT.view(B, G, H // G * T, -1) @ v_BGTK).view(B, H, T, K)


def attend_blocked(q_BHTK: Tensor, k_BGTK: Tensor, v_BGTK: Tensor, is_visible: Tensor) -> Tensor:
    """The same by blocks of queries, each with the keys up to its last query alone; nothing behind may be visible."""
    T, seen = q_BHTK.shape[2], k_BGTK.shape[2] - q_BHTK.shape[2]
    rows = max(LEAST_ROWS, -(-T // BLOCKS))
    parts = []
    for start in range(0, T, rows):
        end = min(start + rows, T)
        keys = slice(seen + end)
        parts.append(
            attend_explicit(
                q_BHTK[:, :, start:end], k_BGTK[:, :, keys], v_BGTK[:, :, keys], is_visible[:, :, start:end, keys]
            )
        )
    return torch.cat(parts, dim=2)


def attend_sdpa(q_BHTK: Tensor, k_BGTK: Tensor, v_BGTK: Tensor, is_visible: Tensor) -> Tensor:
    """The same by torch's fused kernel."""
    return functional.scaled_dot_product_attention(q_BHTK, k_BGTK, v_BGTK, attn_mask=is_visible, enable_gqa=True)


ATTEND = {Kernel.EXPLICIT: attend_explicit, Kernel.BLOCKED: attend_blocked, Kernel.SDPA: attend_sdpa}
