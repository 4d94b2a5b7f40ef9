"""AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), element by element.

Every operation gives an element the same bits wherever it lies in a tensor, so a shard's update does not depend on
where the parameter was cut. torch's own AdamW(fused=True) does not have this property, nor have silu, sigmoid, gelu
and pow (measured; tests/train/test_optim.py shows it for what is used here).
"""

import math
from dataclasses import dataclass

from torch import Tensor

from train.schedule import bias_correction

# Small enough that the operations on a block find it in the cache.
BLOCK_ELEMENTS = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The numbers of one step's update."""

    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    correction1: float
    root_correction2: float
    is_sqrt_in_float64: bool


def rule_of(
    step: int, *, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, is_sqrt_in_float64: bool
) -> Rule:
    """The rule of a step, with the corrections for averages that began at zero."""
    return Rule(
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        eps=eps,
        weight_decay=weight_decay,
        correction1=bias_correction(step, beta=beta1),
        root_correction2=math.sqrt(bias_correction(step, beta=beta2)),
        is_sqrt_in_float64=is_sqrt_in_float64,
    )


def update(
    weights: Tensor,
    gradient: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    rule: Rule,
    scale: float,
    is_decayed: bool,
) -> None:
    """Change weights and moments in place; all are one-dimensional. The gradient is multiplied by `scale` first."""
    for start in range(0, weights.numel(), BLOCK_ELEMENTS):
        at = slice(start, start + BLOCK_ELEMENTS)
        _update_block(
            weights[at], gradient[at], exp_avg[at], exp_avg_sq[at], rule=rule, scale=scale, is_decayed=is_decayed
        )


def _update_block(
    weights: Tensor,
    gradient: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    *,
    rule: Rule,
    scale: float,
    is_decayed: bool,
) -> None:
    gradient = gradient * scale
    if is_decayed:
        weights.mul_(1 - rule.lr * rule.weight_decay)
    exp_avg.lerp_(gradient, 1 - rule.beta1)
    exp_avg_sq.mul_(rule.beta2).addcmul_(gradient, gradient, value=1 - rule.beta2)
    denominator = _root(exp_avg_sq, is_in_float64=rule.is_sqrt_in_float64).div_(rule.root_correction2).add_(rule.eps)
    weights.addcdiv_(exp_avg, denominator, value=-rule.lr / rule.correction1)


def _root(values: Tensor, *, is_in_float64: bool) -> Tensor:
    # fp32's sqrt is MKL's, which is not correctly rounded and differs between CPU vendors; the float64 detour is not.
    return values.double().sqrt_().to(values.dtype) if is_in_float64 else values.sqrt()
