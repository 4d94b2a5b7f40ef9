"""The next-token loss by hand, and what a trainer relies on."""

import math
from dataclasses import replace

import torch

from core.profile import Attention
from model.config import ModelConfig
from model.init import initialize
from model.transformer import Transformer, next_token_loss

BOS = 1


def model_of(config: ModelConfig) -> Transformer:
    model = Transformer(config, Attention.EXPLICIT)
    initialize(model, seed=1, std=0.3)
    return model


def test_equal_logits_cost_the_logarithm_of_the_vocabulary_for_every_target(config: ModelConfig) -> None:
    model = model_of(config)
    assert model.head is not None
    model.head.weight.data.zero_()
    tokens_BT1 = torch.tensor([[BOS, 2, 3, 4], [5, 6, BOS, 7]])
    loss = next_token_loss(model, tokens_BT1, BOS)
    assert loss.dtype == torch.float32 and loss.shape == ()
    assert math.isclose(loss.item(), 6 * math.log(100), rel_tol=1e-6)


@torch.inference_mode()
def test_packed_documents_cost_what_they_cost_alone(config: ModelConfig) -> None:
    model = model_of(config)
    first, second = [BOS, 5, 6, 7], [BOS, 8, 9]
    packed = next_token_loss(model, torch.tensor([first + second]), BOS)
    alone = next_token_loss(model, torch.tensor([[*first, BOS]]), BOS) + next_token_loss(
        model, torch.tensor([second]), BOS
    )
    # Rotations differ by position, sums by order: fp32 roundings of a sum of 30.
    assert math.isclose(packed.item(), alone.item(), rel_tol=1e-5)
    unmasked = next_token_loss(model, torch.tensor([first + second]), bos_id=99)
    assert not math.isclose(packed.item(), unmasked.item(), rel_tol=1e-3)


def test_every_parameter_gets_a_gradient(config: ModelConfig) -> None:
    model = model_of(config)
    next_token_loss(model, torch.arange(33).view(1, 33), BOS).backward()  # type: ignore[no-untyped-call]
    dead = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert dead == []


def test_a_gradient_is_the_slope_of_the_loss(config: ModelConfig) -> None:
    model = model_of(config).double()
    tokens_BT1 = torch.arange(1, 18).view(1, 17)
    next_token_loss(model, tokens_BT1, BOS).backward()  # type: ignore[no-untyped-call]
    weight = model.blocks[0].get_parameter("attention.wk.weight")
    assert weight.grad is not None
    step = 1e-4

    def loss_at(shift: float) -> float:
        with torch.no_grad():
            weight[3, 4] += shift
            loss = next_token_loss(model, tokens_BT1, BOS)
            weight[3, 4] -= shift
        return loss.item()

    slope = (loss_at(step) - loss_at(-step)) / (2 * step)
    # A central difference is off by about step^2 times the third derivative.
    assert math.isclose(slope, float(weight.grad[3, 4]), rel_tol=1e-4)


@torch.inference_mode()
def test_a_tied_embedding_is_the_head_and_is_stored_once(config: ModelConfig) -> None:
    model = model_of(replace(config, is_embedding_tied=True))
    assert not any(name.startswith("head") for name in model.state_dict())
    before = model(torch.tensor([[BOS, 2]]))
    model.embedding.weight[50] *= 2
    after = model(torch.tensor([[BOS, 2]]))
    assert torch.equal(after[..., 50], 2 * before[..., 50])
    assert torch.equal(after[..., :50], before[..., :50])
