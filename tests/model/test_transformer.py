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
    loss = next_token_loss(model, tokens_BT1, BOS).told
    assert loss.dtype == torch.float32 and loss.shape == ()
    assert math.isclose(loss.item(), 6 * math.log(100), rel_tol=1e-6)


@torch.inference_mode()
def test_packed_documents_cost_what_they_cost_alone(config: ModelConfig) -> None:
    model = model_of(config)
    first, second = [BOS, 5, 6, 7], [BOS, 8, 9]
    packed = next_token_loss(model, torch.tensor([first + second]), BOS).told
    alone = sum(next_token_loss(model, torch.tensor([ids]), BOS).told.item() for ids in ([*first, BOS], second))
    # Rotations differ by position, sums by order: fp32 roundings of a sum of 30.
    assert math.isclose(packed.item(), alone, rel_tol=1e-5)
    unmasked = next_token_loss(model, torch.tensor([first + second]), bos_id=99).told
    assert not math.isclose(packed.item(), unmasked.item(), rel_tol=1e-3)


def test_every_parameter_gets_a_gradient(config: ModelConfig) -> None:
    model = model_of(config)
    next_token_loss(model, torch.arange(33).view(1, 33), BOS).followed.backward()  # type: ignore[no-untyped-call]
    dead = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert dead == []


def test_a_gradient_is_the_slope_of_the_loss(config: ModelConfig) -> None:
    model = model_of(config).double()
    tokens_BT1 = torch.arange(1, 18).view(1, 17)
    next_token_loss(model, tokens_BT1, BOS).followed.backward()  # type: ignore[no-untyped-call]
    weight = model.blocks[0].get_parameter("attention.wk.weight")
    assert weight.grad is not None
    step = 1e-4

    def loss_at(shift: float) -> float:
        with torch.no_grad():
            weight[3, 4] += shift
            loss = next_token_loss(model, tokens_BT1, BOS).told
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


def test_the_z_loss_is_followed_and_not_told(config: ModelConfig) -> None:
    model = model_of(config)
    tokens_BT1 = torch.tensor([[BOS, 2, 3, 4]])
    plain, both = (next_token_loss(model, tokens_BT1, BOS, z_loss=weight) for weight in (0.0, 0.5))
    logits_BTV = model(tokens_BT1[:, :-1])
    squares = sum(float(row.exp().sum().log()) ** 2 for row in logits_BTV[0].detach())
    assert both.told.item() == plain.told.item() == plain.followed.item()
    assert math.isclose(both.followed.item(), plain.told.item() + 0.5 * squares, rel_tol=1e-6)


@torch.inference_mode()
def test_capped_logits_stay_below_the_cap_and_keep_their_order(config: ModelConfig) -> None:
    plain, capped = (model_of(replace(config, logit_softcap=cap)) for cap in (0.0, 2.0))
    tokens_BT = torch.arange(1, 17).view(1, 16)
    logits_BTV, bounded_BTV = plain(tokens_BT), capped(tokens_BT)
    assert logits_BTV.abs().max() > 2.0 >= bounded_BTV.abs().max()
    torch.testing.assert_close(bounded_BTV, 2.0 * torch.tanh(logits_BTV / 2.0))


@torch.inference_mode()
def test_normed_heads_make_attention_blind_to_the_size_of_queries_and_keys(config: ModelConfig) -> None:
    tokens_BT = torch.arange(1, 17).view(1, 16)
    for is_normed in (True, False):
        model = model_of(replace(config, is_qk_normed=is_normed))
        before = model(tokens_BT)
        for block in model.blocks:
            block.get_parameter("attention.wq.weight").mul_(16.0)
            block.get_parameter("attention.wk.weight").mul_(16.0)
        # A power of two scales what is normed exactly; only eps is felt.
        assert torch.allclose(model(tokens_BT), before, rtol=1e-3, atol=1e-3) is is_normed


@torch.inference_mode()
def test_a_wider_model_begins_with_logits_that_do_not_grow(config: ModelConfig) -> None:
    def spread(factor: int, base_dim: int) -> float:
        wide = replace(
            config, dim=32 * factor, n_heads=4 * factor, n_kv_heads=2 * factor, ffn_dim=64 * factor, base_dim=base_dim
        )
        model = Transformer(wide, Attention.EXPLICIT)
        initialize(model, seed=1, std=0.3, width_factor=wide.width_factor)
        return float(model(torch.arange(1, 33).view(1, 32)).std())

    base = spread(1, 32)
    # The head's products add up independent terms at first: 1 / width keeps them from growing, as 1 / sqrt(width).
    assert spread(16, 32) < 0.5 * base
    assert spread(16, 0) > 2 * base
