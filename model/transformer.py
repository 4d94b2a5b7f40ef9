"""A decoder of Llama's shape, its next-token loss, and its cache for decoding step by step.

Tensor names map one to one to those of transformers' Llama (inference/export.py).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import ConfigError
from core.profile import Attention as Kernel
from core.profile import Compute
from model.attention import Attention, Context, LayerCache, visibility
from model.config import ModelConfig
from model.layers import NARROW, FeedForward, Linear, RMSNorm, narrowed
from model.rotary import rotation_tables

# What torch's cross-entropy leaves out.
NO_TARGET = -100


class Cache:
    """Keys and values of every layer for the positions seen so far."""

    def __init__(self, n_layers: int) -> None:
        self.layers = [LayerCache() for _ in range(n_layers)]
        self.length = 0


class Block(nn.Module):
    """Attention, then feed-forward, each on the normed stream and added to it."""

    def __init__(self, config: ModelConfig, kernel: Kernel, *, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, eps=config.norm_eps, dtype=dtype)
        self.attention = Attention(config, kernel, dtype=dtype)
        self.feed_forward_norm = RMSNorm(config.dim, eps=config.norm_eps, dtype=dtype)
        self.feed_forward = FeedForward(config, dtype=dtype)

    def forward(self, x_BTD: Tensor, context: Context, cache: LayerCache | None = None) -> Tensor:
        x_BTD = x_BTD + self.attention(self.attention_norm(x_BTD), context, cache)
        y_BTD: Tensor = x_BTD + self.feed_forward(self.feed_forward_norm(x_BTD))
        return y_BTD


class Transformer(nn.Module):
    """Tokens to logits. Weights are undefined until `model.init.initialize` or a checkpoint fills them.

    Products are taken in the type `compute`, and the residual stream is of it if `is_stream_narrow`; all else is fp32.
    """

    def __init__(
        self,
        config: ModelConfig,
        attention: Kernel,
        *,
        compute: Compute = Compute.FP32,
        is_stream_narrow: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        dtype = NARROW[compute]
        self.stream_dtype = dtype if is_stream_narrow else None
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config, attention, dtype=dtype) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, eps=config.norm_eps, dtype=dtype)
        self.head = None if config.is_embedding_tied else Linear(config.dim, config.vocab_size, dtype=dtype)
        self.product_dtype = dtype

    def forward(
        self,
        tokens_BT: Tensor,
        document_BT: Tensor | None = None,
        *,
        cache: Cache | None = None,
        targets_BT: Tensor | None = None,
        z_loss: float = 0.0,
        is_masked: bool = False,
        is_by_row: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B, T, V] in fp32, or with targets the two sums of `Loss`, or with `is_by_row` the sums told of rows.

        Targets that are NO_TARGET are not told; with `is_masked` they are not followed either.

        Attention stays within the documents that `document_BT` numbers, or is causal without it. With a cache, the
        tokens follow those it has seen, and it grows by them. Raises ConfigError beyond max_seq_len.
        """
        seen = cache.length if cache else 0
        context = self._context(document_BT, new=tokens_BT.shape[1], seen=seen)
        x_BTD = narrowed(self.embedding(tokens_BT), self.stream_dtype)
        for index, block in enumerate(self.blocks):
            x_BTD = block(x_BTD, context, cache.layers[index] if cache else None)
        if cache:
            cache.length += tokens_BT.shape[1]
        if targets_BT is None:
            return self.logits(x_BTD)
        if is_by_row:
            return self.row_losses(x_BTD, targets_BT)
        return self.losses(x_BTD, targets_BT, z_loss, is_masked=is_masked)

    def losses(
        self, x_BTD: Tensor, targets_BT: Tensor, z_loss: float, *, is_masked: bool = False
    ) -> tuple[Tensor, Tensor]:
        """What the stream after the last block costs: the sums told and followed (`Loss`)."""
        logits_BTV = self.logits(x_BTD)
        told = functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="sum")
        if not z_loss:
            return told, told
        squares_BT = logits_BTV.logsumexp(-1).square()
        if is_masked:
            squares_BT = squares_BT.masked_fill(targets_BT == NO_TARGET, 0.0)
        return told, told + z_loss * squares_BT.sum()

    def row_losses(self, x_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """Of every row [B] the sum of -log p over its targets."""
        logits_BTV = self.logits(x_BTD)
        lost = functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="none")
        return lost.view(targets_BT.shape).sum(1)

    def logits(self, x_BTD: Tensor) -> Tensor:
        """Logits of the stream after the last block."""
        x_BTD = self.norm(x_BTD)
        if self.config.base_dim:
            x_BTD = x_BTD / self.config.width_factor
        if self.head is None:
            logits_BTV = functional.linear(x_BTD, narrowed(self.embedding.weight, self.product_dtype))
        else:
            logits_BTV = self.head(x_BTD)
        logits_BTV = logits_BTV.to(self.embedding.weight.dtype)
        cap = self.config.logit_softcap
        return torch.tanh(logits_BTV / cap) * cap if cap else logits_BTV

    def _context(self, document_BT: Tensor | None, *, new: int, seen: int) -> Context:
        config, end = self.config, seen + new
        if end > config.max_seq_len:
            raise ConfigError(f"{end} positions exceed model.max_seq_len {config.max_seq_len}; give shorter windows")
        cos_TK, sin_TK = rotation_tables(
            head_dim=config.head_dim, theta=config.rope_theta, length=_table_length(end, config.max_seq_len)
        )
        device = self.embedding.weight.device
        is_visible = visibility(document_BT, new=new, seen=seen, device=device)
        cos_TK, sin_TK = cos_TK[seen:end].to(device), sin_TK[seen:end].to(device)
        return Context(cos=cos_TK, sin=sin_TK, is_visible=is_visible)


@dataclass(frozen=True, slots=True)
class Loss:
    """Of a micro-batch: the sum of -log p(next token) over its targets, and what training follows. Scalars in fp32.

    Of pairs what is told is followed; `margins`, of [B], says by how much each prefers what was chosen.
    """

    told: Tensor
    followed: Tensor
    margins: Tensor | None = None


def next_token_loss(model: nn.Module, tokens_BT1: Tensor, bos_id: int, *, z_loss: float = 0.0) -> Loss:
    """The loss over all B T targets.

    `tokens_BT1` are windows of T + 1 packed tokens; a document starts at every `bos_id`, and attention stays in it.
    What is followed has `z_loss` log(Z)^2 a target on top, Z being the sum over exp of the logits (Chowdhery et al.
    2022, arXiv:2204.02311, section 5).
    """
    tokens_BT, targets_BT = tokens_BT1[:, :-1], tokens_BT1[:, 1:]
    document_BT = (tokens_BT == bos_id).cumsum(dim=1)
    told, followed = model(tokens_BT, document_BT, targets_BT=targets_BT, z_loss=z_loss)
    return Loss(told, followed)


def counted_loss(model: nn.Module, tokens_BT1: Tensor, counted_BT: Tensor, *, bos_id: int, z_loss: float = 0.0) -> Loss:
    """The loss over the targets that count; exactly zero, with gradients of zero, if none does."""
    tokens_BT, document_BT, targets_BT = _masked(tokens_BT1, counted_BT, bos_id)
    told, followed = model(tokens_BT, document_BT, targets_BT=targets_BT, z_loss=z_loss, is_masked=True)
    return Loss(told, followed)


def row_losses(model: nn.Module, tokens_BT1: Tensor, counted_BT: Tensor, *, bos_id: int) -> Tensor:
    """Of every row [B] the sum of -log p(next token) over the targets that count, in fp32."""
    tokens_BT, document_BT, targets_BT = _masked(tokens_BT1, counted_BT, bos_id)
    lost_B: Tensor = model(tokens_BT, document_BT, targets_BT=targets_BT, is_by_row=True)
    return lost_B


def _masked(tokens_BT1: Tensor, counted_BT: Tensor, bos_id: int) -> tuple[Tensor, Tensor, Tensor]:
    tokens_BT, targets_BT = tokens_BT1[:, :-1], tokens_BT1[:, 1:]
    document_BT = (tokens_BT == bos_id).cumsum(dim=1)
    return tokens_BT, document_BT, targets_BT.masked_fill(~counted_BT, NO_TARGET)


def text_loss(model: nn.Module, tokens_BT1: Tensor, *, bos_id: int, eos_id: int) -> Tensor:
    """The sum of -log p(next token) over the targets that are text: marks of documents are read, not predicted."""
    tokens_BT, targets_BT = tokens_BT1[:, :-1], tokens_BT1[:, 1:]
    document_BT = (tokens_BT == bos_id).cumsum(dim=1)
    is_mark = (targets_BT == bos_id) | (targets_BT == eos_id)
    told: Tensor
    told, _ = model(tokens_BT, document_BT, targets_BT=targets_BT.masked_fill(is_mark, NO_TARGET))
    return told


def _table_length(needed: int, limit: int) -> int:
    """A power of two of at least 64 positions, so that a growing cache does not make a table for every length."""
    return min(limit, max(64, 1 << (needed - 1).bit_length()))
