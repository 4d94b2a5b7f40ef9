"""The loops in C: an element's bits wherever a shard is cut, AdamW's values, and the norm's very integers."""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.train.configs import train_config
from tests.train.test_optim import COUNT, STEPS, gradient, segment
from tests.train.test_threads import with_threads
from train import kernels
from train.native import FLAGS
from train.norm import Scale, square_limbs
from train.optim import adamw, rule_of
from train.threads import slices


def train_in_pieces(cuts: list[int], *, is_fused: bool) -> list[Tensor]:
    """Weights and moments after some steps on tensors cut in pieces."""
    tensors = (gradient(0), torch.zeros(COUNT), torch.zeros(COUNT))
    for step in range(1, STEPS + 1):
        rule = rule_of(step, train_config(), lr=3e-3, scale=0.37, is_sqrt_in_float64=True, is_fused=is_fused)
        whole = gradient(step)
        for start, stop in pairwise([0, *cuts, COUNT]):
            weights, exp_avg, exp_avg_sq = (tensor[start:stop] for tensor in tensors)
            adamw(segment((weights, exp_avg, exp_avg_sq)), whole[start:stop], rule)
    return list(tensors)


@pytest.mark.parametrize("seed", range(3))
def test_no_cut_changes_a_bit_of_the_fused_update(seed: int) -> None:
    some = sorted(random.Random(seed).sample(range(1, COUNT), 20 + 60 * seed))
    whole = train_in_pieces([], is_fused=True)
    for cuts in ([1], [COUNT - 3], list(range(7, COUNT, 1023)), some):
        assert all(map(torch.equal, whole, train_in_pieces(cuts, is_fused=True))), cuts


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit_of_the_fused_update_or_the_limbs(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = Scale(12, 38)
    with with_threads(1):
        alone = train_in_pieces([], is_fused=True)
        limbs = square_limbs([gradient(1)], scale=scale, is_fused=True)
    monkeypatch.setattr(kernels, "LEAST_ELEMENTS", 1001)
    with with_threads(threads):
        assert len(slices(COUNT, least=1001)) == threads
        assert all(map(torch.equal, alone, train_in_pieces([], is_fused=True)))
        assert square_limbs([gradient(1)], scale=scale, is_fused=True) == limbs


def test_the_fused_update_is_that_of_the_plain_one_but_for_rounding() -> None:
    for fused, plain in zip(train_in_pieces([], is_fused=True), train_in_pieces([], is_fused=False), strict=True):
        # fp32 rounding of about ten operations a step, in another order.
        torch.testing.assert_close(fused, plain, rtol=2e-6, atol=1e-7)


def test_a_fused_step_by_hand_in_correctly_rounded_operations() -> None:
    weights, exp_avg, exp_avg_sq, grad = (gradient(seed).abs() for seed in range(4))
    rule = rule_of(3, train_config(), lr=3e-3, scale=0.37, is_sqrt_in_float64=True, is_fused=True)
    w, m, v, g = (np.array(tensor.numpy()) for tensor in (weights, exp_avg, exp_avg_sq, grad))
    g = g * np.float32(rule.scale)
    m = m + np.float32(1 - rule.beta1) * (g - m)
    v = v * np.float32(rule.beta2) + np.float32(1 - rule.beta2) * g * g
    ratio = m / (np.sqrt(v) / np.float32(rule.root_correction2) + np.float32(rule.eps))
    w = w * np.float32(1 - rule.lr * rule.weight_decay) - np.float32(rule.lr / rule.correction1) * ratio
    adamw(segment((weights, exp_avg, exp_avg_sq)), grad, rule)
    for ours, wanted in ((weights, w), (exp_avg, m), (exp_avg_sq, v)):
        assert ours.numpy().tobytes() == wanted.tobytes()


@pytest.mark.parametrize("count", [0, 1, 7, 16, 40_001])
def test_the_norms_limbs_are_the_same_integers(count: int) -> None:
    values = [gradient(step)[:count] for step in (1, 2)]
    scale = Scale(12, 38)
    assert square_limbs(values, scale=scale, is_fused=True) == square_limbs(values, scale=scale)


def test_nothing_that_would_reorder_or_contract_is_asked_of_the_compiler() -> None:
    assert "-ffp-contract=off" in FLAGS and not {"-Ofast", "-ffast-math"} & set(FLAGS)
