"""AdamW: the values of its definition, and the same bits for an element wherever a shard is cut."""

import random
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.train.configs import train_config
from tests.train.ranks import call
from train.config import Optimizer
from train.groups import Group
from train.optim import Rule, adamw, rule_of
from train.placed import Segment, Span

COUNT = 40_001
STEPS = 4
Moments = tuple[Tensor, Tensor, Tensor]


def rule(step: int, *, scale: float) -> Rule:
    return rule_of(step, train_config(), lr=3e-3, scale=scale, is_sqrt_in_float64=True)


def segment(moments: Moments, *, is_decayed: bool = True, rate_factor: float = 1.0) -> Segment:
    weights, exp_avg, exp_avg_sq = moments
    group = Group(optimizer=Optimizer.ADAMW, rate_factor=rate_factor, is_decayed=is_decayed)
    return Segment(Span("w", 0, weights.numel()), group, weights, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq})


def gradient(step: int) -> Tensor:
    source = torch.Generator().manual_seed(step)
    return torch.randn(COUNT, generator=source) * 10.0 ** torch.randint(-6, 2, (COUNT,), generator=source)


def train_in_pieces(many_cuts: list[list[int]]) -> list[list[bytes]]:
    """Weights and moments after some steps, for every way to cut the tensors; runs under the profile."""
    return [_train_in_pieces(cuts) for cuts in many_cuts]


def _train_in_pieces(cuts: list[int]) -> list[bytes]:
    tensors: Moments = (gradient(0), torch.zeros(COUNT), torch.zeros(COUNT))
    ends = [0, *cuts, COUNT]
    for step in range(1, STEPS + 1):
        whole = gradient(step)
        for start, stop in pairwise(ends):
            weights, exp_avg, exp_avg_sq = (tensor[start:stop] for tensor in tensors)
            adamw(segment((weights, exp_avg, exp_avg_sq)), whole[start:stop], rule(step, scale=0.37))
    return [tensor.numpy().tobytes() for tensor in tensors]


def train_with_torch(cuts: list[int], is_fused: bool) -> bytes:
    """The same by torch's own optimizer."""
    parameters = [torch.nn.Parameter(piece.clone()) for piece in torch.tensor_split(gradient(0), cuts)]
    optimizer = torch.optim.AdamW(
        parameters, lr=3e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=is_fused, foreach=False
    )
    for step in range(1, STEPS + 1):
        for parameter, piece in zip(parameters, torch.tensor_split(gradient(step) * 0.37, cuts), strict=True):
            parameter.grad = piece.clone()
        optimizer.step()
    return torch.cat([parameter.detach() for parameter in parameters]).numpy().tobytes()


def test_no_cut_changes_a_bit() -> None:
    source = random.Random(3)
    some = sorted(source.sample(range(1, COUNT), 200))
    cuts = [[], [1], [COUNT // 2], [COUNT - 3], list(range(7, COUNT, 1023)), some]
    whole, *others = call(train_in_pieces, cuts)
    assert all(other == whole for other in others)


def test_fused_adamw_would_change_bits() -> None:
    assert call(train_with_torch, [], True) != call(train_with_torch, list(range(7, COUNT, 1023)), True)


def test_the_values_are_those_of_torch() -> None:
    ours = torch.frombuffer(bytearray(call(train_in_pieces, [[]])[0][0]), dtype=torch.float32)
    theirs = torch.frombuffer(bytearray(call(train_with_torch, [], False)), dtype=torch.float32)
    # fp32 rounding of about ten operations a step, in another order.
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_a_step_by_hand() -> None:
    weights, exp_avg, exp_avg_sq = torch.tensor([2.0, 2.0]), torch.zeros(2), torch.zeros(2)
    adamw(segment((weights, exp_avg, exp_avg_sq)), torch.tensor([4.0, 0.0]), rule(1, scale=0.5))
    decayed = 2.0 * (1 - 3e-3 * 0.1)
    # In the first step the corrected averages are g and g^2: the weight moves by lr, or not at all.
    assert weights.tolist() == pytest.approx([decayed - 3e-3, decayed], rel=1e-6)
    assert exp_avg.tolist() == pytest.approx([0.2, 0.0])
    assert exp_avg_sq.tolist() == pytest.approx([0.2, 0.0])


def test_what_is_not_decayed_stays_without_a_gradient() -> None:
    weights = torch.tensor([2.0])
    adamw(segment((weights, torch.zeros(1), torch.zeros(1)), is_decayed=False), torch.zeros(1), rule(1, scale=1.0))
    assert weights.tolist() == [2.0]


def test_a_slower_group_moves_less_and_decays_alike() -> None:
    moved = []
    for rate_factor in (1.0, 0.25):
        weights = torch.tensor([2.0])
        adamw(
            segment((weights, torch.zeros(1), torch.zeros(1)), rate_factor=rate_factor),
            torch.tensor([4.0]),
            rule(1, scale=1.0),
        )
        moved.append(2.0 * (1 - 3e-3 * 0.1) - weights.item())
    assert moved == pytest.approx([3e-3, 0.25 * 3e-3], rel=1e-3)
