"""Norm and feed-forward by hand."""

import math
from dataclasses import replace

import torch

from model.config import ModelConfig
from model.layers import FeedForward, RMSNorm


def test_rms_norm_by_hand() -> None:
    norm = RMSNorm(2, eps=0.5)
    norm.weight.data = torch.tensor([1.0, 10.0])
    # (1 + 9)/2 + 0.5 = 5.5
    expected = torch.tensor([1 / math.sqrt(5.5), 30 / math.sqrt(5.5)])
    torch.testing.assert_close(norm(torch.tensor([[1.0, 3.0]]))[0], expected, rtol=1e-6, atol=0)


def test_swiglu_by_hand(config: ModelConfig) -> None:
    layer = FeedForward(replace(config, dim=4, n_heads=2))
    for name, value in {"w1": 0.5, "w2": 2.0, "w3": 0.25}.items():
        getattr(layer, name).weight.data.fill_(value)
    # Every hidden unit: silu(0.5 * 10) * 0.25 * 10; the output adds 64 of them, doubled.
    hidden = 5 / (1 + math.exp(-5)) * 2.5
    torch.testing.assert_close(
        layer(torch.tensor([[1.0, 2.0, 3.0, 4.0]])), torch.full((1, 4), 128 * hidden), rtol=1e-6, atol=0
    )
