"""The doctor's machinery sees kernels that vary, and a run whose kernels vary does not start."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError
from tests.train.ranks import call
from train import selftests
from train.cases import kernels_of
from train.placed import Segment
from train.recipe import Recipe, read_recipe
from train.selftests import (
    Finding,
    Kernel,
    check_at_start,
    control_findings,
    findings_of,
    fused_adamw,
    keeps_slices,
    keeps_threads,
    layer_norm,
    repeats,
    values,
)

SMALL = ("model.dim=64", "model.n_heads=4", "model.vocab_size=512", "model.ffn_dim=128", "train.micro_batch=2")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return read_recipe("smoke", SMALL)


def test_torchs_fused_adamw_is_seen_to_vary_with_slices() -> None:
    assert not keeps_slices(fused_adamw())
    assert [finding.verdict for finding in findings_of(fused_adamw()) if "slices" in finding.check] == ["FAIL"]


def test_torchs_layer_norm_is_seen_to_vary_with_threads() -> None:
    assert not keeps_threads(layer_norm())
    assert [finding.verdict for finding in control_findings()] == ["PASS"] * 3


def test_a_kernel_that_varies_with_the_profiles_own_threads_alone_is_seen() -> None:
    kernel = Kernel(
        name="by threads",
        operands=[values(8, seed=0)],
        run=lambda operands: [operands[0] * (1.5 if torch.get_num_threads() == 3 else 1.0)],
    )
    assert keeps_threads(kernel) and not keeps_threads(kernel, threads=3)
    assert [finding.told for finding in findings_of(kernel, threads=3)] == ["same bits", "other bits"]


def test_a_kernel_that_gives_something_else_each_time_is_seen() -> None:
    calls = iter(range(1_000_000))

    def drift(operands: Sequence[Tensor]) -> list[Tensor]:
        return [operands[0] + 1e-6 * next(calls)]

    kernel = Kernel(name="drifting", operands=[values(8, seed=0)], run=drift)
    assert not repeats(kernel)
    assert findings_of(kernel)[0].verdict == "FAIL"
    assert findings_of(replace(kernel, is_required=False))[0].verdict == "NOTE"


def test_a_kernel_that_depends_on_where_its_operands_lie_is_seen() -> None:
    kernel = Kernel(
        name="by address",
        operands=[values(64, seed=0)],
        run=lambda operands: [operands[0] * (1.0 if operands[0].data_ptr() % 64 == 0 else 1.5)],
    )
    assert not repeats(kernel)


def test_every_kernel_of_a_run_holds_in_the_tiny_profile(recipe: Recipe) -> None:
    assert call(_failures, recipe) == []


def _failures(recipe: Recipe) -> list[str]:
    found = [finding for kernel in kernels_of(recipe, seq_len=32) for finding in findings_of(kernel)]
    assert len(found) > 30
    return [finding.check for finding in found if finding.verdict == "FAIL"]


@pytest.fixture(scope="module")
def native() -> Recipe:
    return read_recipe("smoke", (*SMALL, "profile=native", "profile.is_compiled=false"))


def test_every_kernel_of_a_run_holds_in_profile_native(native: Recipe) -> None:
    found = {finding.check: finding.verdict for finding in call(_found, native)}
    assert "FAIL" not in found.values()
    for name in ("product head, bf16", "attention explicit, bf16", "attention sdpa, bf16"):
        assert found[f"{name}: repeat"] == "PASS" or name != f"attention {native.profile.attention.value}, bf16"
    assert native.profile.is_update_fused
    assert found["optimizer AdamW: slices"] == found["gradient norm: slices"] == "PASS"
    assert found["micro-batch of one block, as it stands: repeat"] == "PASS"


# Slow: the compiler takes minutes on two busy cores.
@pytest.mark.slow
def test_a_compiled_micro_batch_repeats_itself(native: Recipe) -> None:
    compiled = replace(native, profile=replace(native.profile, is_compiled=True))
    assert call(_repeats, compiled, "micro-batch of one block, compiled")


def _repeats(recipe: Recipe, name: str) -> bool:
    (kernel,) = (one for one in kernels_of(recipe, seq_len=32) if one.name == name)
    return repeats(kernel)


def _found(recipe: Recipe) -> list[Finding]:
    return [finding for kernel in kernels_of(recipe, seq_len=32) for finding in findings_of(kernel)]


def test_a_norm_that_is_added_in_floats_does_not_start(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def floats(gradients: Sequence[Tensor], *, scale: object, is_fused: bool) -> tuple[float, float]:
        return float(sum(gradient.square().sum() for gradient in gradients)), 0.0

    monkeypatch.setattr(selftests, "square_limbs", floats)
    with pytest.raises(ConfigError, match="portable cannot be honoured here: gradient norm: slices failed"):
        check_at_start(recipe)


def test_a_run_with_an_optimizer_that_varies_does_not_start(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def fused(segment: Segment, gradient: Tensor, rule: object) -> None:
        weights = torch.nn.Parameter(segment.weights.clone())
        optimizer = torch.optim.AdamW([weights], lr=1e-3, fused=True)
        for step in range(1, 5):
            weights.grad = gradient * (0.37 * step)
            optimizer.step()
        segment.weights.copy_(weights.detach())

    check_at_start(recipe)
    monkeypatch.setattr(selftests, "ELEMENTS_AT_START", 30_003)
    monkeypatch.setattr(selftests, "adamw", fused)
    with pytest.raises(ConfigError, match="portable cannot be honoured here: optimizer AdamW: slices failed"):
        check_at_start(recipe)
