"""AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) and Muon (Jordan et al. 2024, muon.py), by segments.

Every operation that is done here gives an element the same bits wherever it lies in a tensor, so a shard's update does
not depend on where the parameter was cut. torch's own AdamW(fused=True) does not have this property, nor have silu,
sigmoid, gelu and pow (measured; tests/train/test_optim.py shows it for what is used here).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from train.config import MuonConfig, Optimizer, TrainConfig
from train.groups import MOMENTS
from train.kernels import fused_adamw
from train.muon import orthogonalize, size_factor
from train.owners import Owners
from train.placed import Segment
from train.schedule import bias_correction

# Small enough that the operations on a block find it in the cache; a GPU gets a segment whole.
BLOCK_ELEMENTS = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The numbers of one step's update; gradients are multiplied by `scale` first."""

    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    correction1: float
    root_correction2: float
    scale: float
    muon: MuonConfig
    is_sqrt_in_float64: bool
    is_fused: bool


def rule_of(
    step: int, config: TrainConfig, *, lr: float, scale: float, is_sqrt_in_float64: bool, is_fused: bool = False
) -> Rule:
    """The rule of a step, with the corrections for averages that began at zero."""
    return Rule(
        lr=lr,
        beta1=config.beta1,
        beta2=config.beta2,
        eps=config.eps,
        weight_decay=config.weight_decay,
        correction1=bias_correction(step, beta=config.beta1),
        root_correction2=math.sqrt(bias_correction(step, beta=config.beta2)),
        scale=scale,
        muon=config.muon,
        is_sqrt_in_float64=is_sqrt_in_float64,
        is_fused=is_fused,
    )


def update(
    segments: Sequence[Segment], gradients: Sequence[Tensor], *, rule: Rule, owners: Owners, has_matrices: bool = True
) -> None:
    """Change weights and moments of this rank's segments in place; all ranks call it together.

    `has_matrices` is off where no rank's segments are Muon's. Gradients are one-dimensional, one a segment, and may be
    written over.
    """
    pieces = []
    for segment, gradient in zip(segments, gradients, strict=True):
        if segment.group.optimizer is Optimizer.MUON:
            pieces.append(follow_momentum(segment, gradient, rule))
        else:
            adamw(segment, gradient, rule)
    if not has_matrices:
        return
    turned = owners.transform(pieces, lambda matrix: orthogonalize(matrix, iterations=rule.muon.iterations))
    inner = [segment for segment in segments if segment.group.optimizer is Optimizer.MUON]
    for segment, piece in zip(inner, turned, strict=True):
        _decay(segment.weights, segment, rule)
        factor = size_factor(owners.shapes[segment.span.name])
        segment.weights.add_(piece, alpha=-rule.lr * segment.group.rate_factor * factor)


def adamw(segment: Segment, gradient: Tensor, rule: Rule) -> None:
    """One step of AdamW on a segment."""
    if rule.is_fused:
        _adamw_fused(segment, gradient, rule)
        return
    block = max(1, gradient.numel()) if gradient.is_cuda else BLOCK_ELEMENTS
    for start in range(0, gradient.numel(), block):
        at = slice(start, start + block)
        _adamw_block(segment, gradient[at] * rule.scale, rule, at=at)


def _adamw_block(segment: Segment, gradient: Tensor, rule: Rule, *, at: slice) -> None:
    weights = segment.weights[at]
    exp_avg, exp_avg_sq = (segment.moments[name][at] for name in MOMENTS[Optimizer.ADAMW])
    _decay(weights, segment, rule)
    exp_avg.lerp_(gradient, 1 - rule.beta1)
    exp_avg_sq.mul_(rule.beta2).addcmul_(gradient, gradient, value=1 - rule.beta2)
    denominator = _root(exp_avg_sq, is_in_float64=rule.is_sqrt_in_float64).div_(rule.root_correction2).add_(rule.eps)
    weights.addcdiv_(exp_avg, denominator, value=-rule.lr * segment.group.rate_factor / rule.correction1)


def _adamw_fused(segment: Segment, gradient: Tensor, rule: Rule) -> None:
    exp_avg, exp_avg_sq = (segment.moments[name] for name in MOMENTS[Optimizer.ADAMW])
    fused_adamw(
        segment.weights,
        gradient,
        (exp_avg, exp_avg_sq),
        scale=rule.scale,
        kept=1 - rule.lr * rule.weight_decay if segment.group.is_decayed else 1.0,
        beta1=rule.beta1,
        beta2=rule.beta2,
        root_correction2=rule.root_correction2,
        eps=rule.eps,
        rate=rule.lr * segment.group.rate_factor / rule.correction1,
    )


def _decay(weights: Tensor, segment: Segment, rule: Rule) -> None:
    """Pull weights towards zero, at the schedule's rate whatever the group's: decay does not change with the width."""
    if segment.group.is_decayed:
        weights.mul_(1 - rule.lr * rule.weight_decay)


def follow_momentum(segment: Segment, gradient: Tensor, rule: Rule) -> Tensor:
    """Update a segment's momentum; returns the direction to go, before it is made orthogonal."""
    momentum, share = segment.moments["momentum"], rule.muon.momentum
    gradient = gradient.mul_(rule.scale)
    momentum.lerp_(gradient, 1 - share)
    return gradient.lerp_(momentum, share) if rule.muon.is_nesterov else momentum.clone()


def _root(values: Tensor, *, is_in_float64: bool) -> Tensor:
    # fp32's sqrt is MKL's, which is not correctly rounded and differs between CPU vendors; the float64 detour is not.
    return values.double().sqrt_().to(values.dtype) if is_in_float64 else values.sqrt()
