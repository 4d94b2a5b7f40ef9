"""Self-tests of the kernels that a run is made of, at a recipe's shapes: do they keep the bits that the promise needs?

    repeat   the same operands, at the same and at other places in memory, give the same bits
    slices   a tensor in pieces gives the bits of the whole; needed of the optimizer and the norm, whose cuts depend on
             the placement, and of nothing else: a micro-batch is always computed whole
    threads  two threads, and as many as the profile has, give the bits of one; not needed, since a profile fixes the
             threads, but good to know

The controls are kernels that were measured to lack one of these: where they pass, the machinery sees too little.
`check_at_start` is what a run can afford at every start.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from core.errors import ConfigError
from train.config import Optimizer
from train.groups import MOMENTS, Group
from train.norm import LIMB_BITS, Scale, largest_exponent, square_limbs
from train.optim import Rule, adamw, follow_momentum, rule_of
from train.placed import Segment, Span
from train.recipe import Recipe

# Floats before a tensor that is moved: no multiple of any vector's width.
OFFSETS = (1, 5)
REPEATS = 3
CUTS = (1, 7, 63, 511)
CUTS_AT_START = (1, 7, 31)
ELEMENTS = 100_003
ELEMENTS_AT_START = 1_003

Run = Callable[[Sequence[Tensor]], list[Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Something that is computed, with operands to compute it on.

    is_sliced    it takes flat operands of one length, any slice of which it could be given
    is_summed    what it gives of pieces is added to be held against the whole, not put behind each other
    is_required  the recipe's runs compute it
    """

    name: str
    operands: list[Tensor]
    run: Run
    is_sliced: bool = False
    is_summed: bool = False
    is_required: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one thing; verdicts are PASS, FAIL and NOTE: worth knowing, but no obstacle."""

    check: str
    verdict: str
    told: str


def values(*shape: int, seed: int, device: str = "cpu") -> Tensor:
    """Normal values that depend on shape and seed alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def is_same(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """Whether all tensors have the same bits, not-a-number included."""
    return len(left) == len(right) and all(
        torch.equal(_bytes(one), _bytes(other)) for one, other in zip(left, right, strict=True)
    )


def repeats(kernel: Kernel) -> bool:
    """Whether the kernel gives the same bits again, also on operands that lie elsewhere."""
    first = kernel.run(kernel.operands)
    moved = [[_moved(operand, offset) for operand in kernel.operands] for offset in OFFSETS]
    return all(is_same(first, kernel.run(operands)) for operands in [*[kernel.operands] * REPEATS, *moved])


def keeps_slices(kernel: Kernel, *, cuts: Sequence[int] = CUTS) -> bool:
    """Whether the kernel on pieces gives the bits of the whole, at many random cuts."""
    first = kernel.run(kernel.operands)
    return all(is_same(first, _in_pieces(kernel, count)) for count in cuts)


def keeps_threads(kernel: Kernel, *, threads: int = 1) -> bool:
    """Whether the kernel gives the same bits with one thread, with two and with `threads`."""
    before = torch.get_num_threads()
    try:
        results = []
        for count in sorted({1, 2, threads}):
            torch.set_num_threads(count)
            results.append(kernel.run(kernel.operands))
        return all(is_same(results[0], other) for other in results[1:])
    finally:
        torch.set_num_threads(before)


def findings_of(kernel: Kernel, *, threads: int = 1) -> list[Finding]:
    """All checks of a kernel, in a profile of `threads`. What the recipe does not compute can only be noted."""
    found = [_judge(kernel, "repeat", is_good=repeats(kernel), is_needed=kernel.is_required)]
    if kernel.is_sliced:
        found.append(_judge(kernel, "slices", is_good=keeps_slices(kernel), is_needed=kernel.is_required))
    return [*found, _judge(kernel, "threads", is_good=keeps_threads(kernel, threads=threads), is_needed=False)]


def control_findings(device: str = "cpu") -> list[Finding]:
    """Whether the machinery sees that the controls vary."""
    found = []
    for kernel, check, holds in (
        (fused_adamw(device), "slices", keeps_slices),
        (float_norm(device), "slices", keeps_slices),
        (layer_norm(device), "threads", keeps_threads),
    ):
        varies = not holds(kernel)
        told = "varies, as it must" if varies else "does not vary here: this check proves less on this machine"
        found.append(Finding(f"control {kernel.name}: {check}", "PASS" if varies else "NOTE", told))
    return found


def check_at_start(recipe: Recipe) -> None:
    """The cheap checks: milliseconds. Raises ConfigError naming the first that fails."""
    device = recipe.profile.device.value
    tried = optimizer_kernels(recipe, elements=ELEMENTS_AT_START, device=device)
    kernels = [*(kernel for kernel in tried if kernel.is_required), _product(ELEMENTS_AT_START // 8, device)]
    for kernel in kernels:
        for finding in (
            *(
                [_judge(kernel, "slices", is_good=keeps_slices(kernel, cuts=CUTS_AT_START), is_needed=True)]
                if kernel.is_sliced
                else []
            ),
            _judge(kernel, "repeat", is_good=repeats(kernel), is_needed=True),
        ):
            if finding.verdict == "FAIL":
                raise ConfigError(
                    f"profile {recipe.profile.name} cannot be honoured here: {finding.check} failed, {finding.told}; "
                    "run python -m train doctor on this machine and take another profile or machine"
                )


def optimizer_kernels(recipe: Recipe, *, elements: int = ELEMENTS, device: str = "cpu") -> list[Kernel]:
    """The rules that change weights, and the norm: all that is computed on slices."""
    muon = recipe.train.optimizer is Optimizer.MUON
    flat = [values(elements, seed=seed, device=device) for seed in range(4)]
    weights, gradient, first, second = flat[0] * 0.02, flat[1], flat[2] * 0.1, flat[3].square() * 1e-3
    rule = _rule(recipe)

    def adamw_rule(operands: Sequence[Tensor]) -> list[Tensor]:
        own, gradient, *moments = (operand.clone() for operand in operands)
        segment = _segment(own, moments, Optimizer.ADAMW)
        adamw(segment, gradient, rule)
        return [own, *moments]

    def momentum_rule(operands: Sequence[Tensor]) -> list[Tensor]:
        gradient, momentum = (operand.clone() for operand in operands)
        turned = follow_momentum(_segment(gradient, [momentum], Optimizer.MUON), gradient, rule)
        return [turned, momentum]

    scale = Scale(largest_exponent(gradient), LIMB_BITS)

    def squares(operands: Sequence[Tensor]) -> list[Tensor]:
        return [torch.tensor(square_limbs(operands, scale=scale, is_fused=recipe.profile.is_update_fused))]

    return [
        Kernel(name="optimizer AdamW", operands=[weights, gradient, first, second], run=adamw_rule, is_sliced=True),
        Kernel(
            name="optimizer Muon's momentum",
            operands=[gradient, first],
            run=momentum_rule,
            is_sliced=True,
            is_required=muon,
        ),
        Kernel(name="gradient norm", operands=[gradient], run=squares, is_sliced=True, is_summed=True),
    ]


def fused_adamw(device: str = "cpu") -> Kernel:
    """torch's AdamW(fused=True), which gives an element other bits in a vector's body than in its tail (measured)."""

    def run(operands: Sequence[Tensor]) -> list[Tensor]:
        weights = torch.nn.Parameter(operands[0].clone())
        optimizer = torch.optim.AdamW([weights], lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        for step in range(1, 5):
            weights.grad = operands[1] * (0.37 * step)
            optimizer.step()
        return [weights.detach(), optimizer.state[weights]["exp_avg_sq"]]

    operands = [values(ELEMENTS, seed=0, device=device) * 0.02, values(ELEMENTS, seed=1, device=device)]
    return Kernel(name="torch's fused AdamW", operands=operands, run=run, is_sliced=True)


def float_norm(device: str = "cpu") -> Kernel:
    """A sum of squares in fp32, as torch's norms take it: its bits depend on how the values were cut."""
    return Kernel(
        name="a sum of squares in fp32",
        operands=[values(ELEMENTS, seed=0, device=device)],
        run=lambda operands: [operands[0].square().sum().view(1)],
        is_sliced=True,
        is_summed=True,
    )


def layer_norm(device: str = "cpu") -> Kernel:
    """torch's layer_norm, whose weight's gradient is summed in an order that the threads decide (measured)."""
    width = 512

    def run(operands: Sequence[Tensor]) -> list[Tensor]:
        weight = operands[1].clone().requires_grad_()
        out = torch.nn.functional.layer_norm(operands[0], (width,), weight)
        return list(torch.autograd.grad(out, [weight], operands[2]))

    operands = [
        values(1024, width, seed=0, device=device),
        values(width, seed=1, device=device),
        values(1024, width, seed=2, device=device),
    ]
    return Kernel(name="torch's layer_norm, weight's gradient", operands=operands, run=run)


def _product(size: int, device: str) -> Kernel:
    operands = [values(size, size, seed=seed, device=device) for seed in (0, 1)]
    return Kernel(name=f"product {size} x {size}", operands=operands, run=lambda pair: [pair[0] @ pair[1]])


def _judge(kernel: Kernel, check: str, *, is_good: bool, is_needed: bool) -> Finding:
    verdict = "PASS" if is_good else "FAIL" if is_needed else "NOTE"
    return Finding(f"{kernel.name}: {check}", verdict, "same bits" if is_good else "other bits")


def _rule(recipe: Recipe) -> Rule:
    is_exact = recipe.profile.is_sqrt_in_float64
    is_fused = recipe.profile.is_update_fused
    return rule_of(3, recipe.train, lr=recipe.train.lr, scale=0.37, is_sqrt_in_float64=is_exact, is_fused=is_fused)


def _segment(weights: Tensor, moments: Sequence[Tensor], optimizer: Optimizer) -> Segment:
    group = Group(optimizer=optimizer, rate_factor=1.0, is_decayed=True)
    named = dict(zip(MOMENTS[optimizer], moments, strict=True))
    return Segment(Span("self-test", 0, weights.numel()), group, weights, named)


def _in_pieces(kernel: Kernel, count: int) -> list[Tensor]:
    """The results of all pieces, put together again."""
    length = kernel.operands[0].numel()
    inner = random.Random(count).sample(range(1, length), min(count, length - 1))
    pieces = [
        kernel.run([operand[start:stop] for operand in kernel.operands])
        for start, stop in pairwise([0, *sorted(inner), length])
    ]
    if kernel.is_summed:
        return [torch.stack(parts).sum(0) for parts in zip(*pieces, strict=True)]
    return [torch.cat(parts) for parts in zip(*pieces, strict=True)]


def _moved(operand: Tensor, offset: int) -> Tensor:
    """A copy that begins `offset` elements after an aligned address."""
    room = torch.empty(operand.numel() + offset, dtype=operand.dtype, device=operand.device)
    return room[offset:].view(operand.shape).copy_(operand)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)
