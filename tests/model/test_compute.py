"""Products in bf16: near the fp32 model, weights and gradients in fp32, and never a whole model in bf16."""

import pytest
import torch
from torch import Tensor

from core.profile import Attention, Compute
from model.config import ModelConfig
from model.init import initialize
from model.transformer import Transformer, next_token_loss

BOS = 1


def gradients(
    config: ModelConfig, kernel: Attention, compute: Compute, *, is_narrow: bool = False
) -> tuple[float, dict[str, Tensor]]:
    """The loss of some tokens and its gradients by name."""
    model = Transformer(config, kernel, compute=compute, is_stream_narrow=is_narrow)
    initialize(model, seed=1, std=0.3)
    loss = next_token_loss(model, (torch.arange(66) * 7 % 90).view(2, 33), BOS)
    loss.followed.backward()  # type: ignore[no-untyped-call]
    assert loss.told.dtype is torch.float32
    return loss.told.item(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("kernel", Attention)
@pytest.mark.parametrize("is_narrow", [False, True])
def test_bf16_products_give_the_fp32_gradients_but_for_rounding(
    config: ModelConfig, kernel: Attention, is_narrow: bool
) -> None:
    wanted_loss, wanted = gradients(config, kernel, Compute.FP32)
    loss, found = gradients(config, kernel, Compute.BF16, is_narrow=is_narrow)
    assert loss != wanted_loss and loss == pytest.approx(wanted_loss, rel=0.02)
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert gradient.dtype is torch.float32
        # bf16 keeps 8 bits; some ten roundings on the way of a value add up to a few percent of a tensor.
        assert (gradient - wanted[name]).norm() < 0.15 * wanted[name].norm(), name


def test_a_narrow_stream_rounds_more(config: ModelConfig) -> None:
    wanted = gradients(config, Attention.EXPLICIT, Compute.FP32)[1]["embedding.weight"]
    wide, narrow = (
        gradients(config, Attention.EXPLICIT, Compute.BF16, is_narrow=is_narrow)[1]["embedding.weight"]
        for is_narrow in (False, True)
    )
    assert (wide - wanted).norm() < (narrow - wanted).norm()
