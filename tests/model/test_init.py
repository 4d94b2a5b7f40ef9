"""Initial weights: exact, named, normal."""

import math
import struct

import torch

from core.hashing import sha256_hex
from core.profile import Attention
from core.seeds import random_bytes
from model.config import ModelConfig
from model.init import PIECE_ELEMENTS, initial_tensor, initialize
from model.transformer import Transformer

# What SHAKE-128 and integer sums give on any machine: `initial_tensor("w", (300, 300), seed=7, std=0.02)`.
GOLDEN = "e8d7d63ae119c373431ae6abb6b47275e1949c3c41949f724d8aaf92ce8a90ec"


def tensor(name: str = "w", *, seed: int = 7) -> torch.Tensor:
    return initial_tensor(name, torch.Size([300, 300]), seed=seed, std=0.02)


def test_a_tensor_has_the_same_bits_everywhere() -> None:
    assert PIECE_ELEMENTS < 300 * 300
    assert sha256_hex(tensor().numpy().tobytes()) == GOLDEN


def test_a_value_is_the_centred_sum_of_twelve_integers() -> None:
    terms = struct.unpack("<12H", random_bytes(7, "init", "w", 0, count=24))
    expected = (sum(terms) - 6 * 65535) / 65536 * 0.02
    assert math.isclose(float(tensor()[0, 0]), expected, rel_tol=2**-24)


def test_another_name_or_seed_gives_an_independent_tensor() -> None:
    for other in (tensor("v"), tensor(seed=8)):
        correlation = float((tensor() * other).mean()) / 0.02**2
        # Of 90,000 independent pairs, at five standard deviations.
        assert abs(correlation) < 5 / 300


def test_values_are_normal() -> None:
    values = tensor().double() / 0.02
    count = values.numel()
    assert abs(float(values.mean())) < 5 / math.sqrt(count)
    assert abs(float(values.var()) - 1) < 5 * math.sqrt(2 / count)
    within = float((values.abs() < 1).double().mean())
    # A normal has 0.6827; twelve terms have 0.6810 (their kurtosis is 2.9).
    assert abs(within - 0.682) < 0.008


def test_residual_outputs_are_scaled_by_depth_and_norms_are_one(config: ModelConfig) -> None:
    model = Transformer(config, Attention.EXPLICIT)
    initialize(model, seed=7, std=0.02)
    weights = dict(model.named_parameters())
    name = "blocks.1.feed_forward.w2.weight"
    scaled = initial_tensor(name, weights[name].shape, seed=7, std=0.02 / math.sqrt(4))
    assert torch.equal(weights[name], scaled)
    assert torch.equal(weights["blocks.1.attention_norm.weight"], torch.ones(32))
    plain = "blocks.0.attention.wq.weight"
    assert torch.equal(weights[plain], initial_tensor(plain, weights[plain].shape, seed=7, std=0.02))
