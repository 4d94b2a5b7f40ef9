"""Attention by hand, within documents, and equal for both kernels."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from core.errors import ConfigError
from core.profile import Attention as Kernel
from core.profile import Compute
from model.attention import LEAST_ROWS, attend_blocked, attend_explicit, attend_sdpa, visibility
from model.config import ModelConfig
from model.init import initialize
from model.transformer import Cache, Transformer

Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

KERNELS = pytest.mark.parametrize("attend", [attend_explicit, attend_blocked, attend_sdpa])


def model_of(config: ModelConfig, kernel: Kernel = Kernel.EXPLICIT) -> Transformer:
    model = Transformer(config, kernel)
    initialize(model, seed=1, std=0.3)
    return model.eval()


def noise(*shape: int) -> Tensor:
    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float32) * 1.7).view(shape)


@KERNELS
def test_two_positions_by_hand(attend: Attend) -> None:
    q_BHTK = torch.tensor([[2.0, 0, 0, 0], [0, 4.0, 0, 0]]).view(1, 1, 2, 4)
    k_BGTK = torch.tensor([[1.0, 1, 0, 0], [0, 2.0, 0, 0]]).view(1, 1, 2, 4)
    v_BGTK = torch.tensor([[1.0, 0, 5, 0], [0, 1.0, 7, 0]]).view(1, 1, 2, 4)
    y_BHTK = attend(q_BHTK, k_BGTK, v_BGTK, visibility(None, new=2, seen=0))
    # Position 0 sees itself alone; position 1 has scores 4/sqrt(4) = 2 and 8/sqrt(4) = 4.
    late = 1 / (1 + math.exp(-2))
    expected = torch.tensor([[1.0, 0, 5, 0], [1 - late, late, 5 + 2 * late, 0]])
    torch.testing.assert_close(y_BHTK[0, 0], expected, rtol=1e-6, atol=1e-7)


@KERNELS
def test_a_document_is_not_seen_by_the_next(attend: Attend) -> None:
    q_BHTK, k_BGTK, v_BGTK = noise(1, 4, 5, 4), noise(1, 2, 5, 4), noise(1, 2, 5, 4)
    document_BT = torch.tensor([[0, 0, 1, 1, 1]])
    y_BHTK = attend(q_BHTK, k_BGTK, v_BGTK, visibility(document_BT, new=5, seen=0))
    alone = attend(q_BHTK[:, :, 2:], k_BGTK[:, :, 2:], v_BGTK[:, :, 2:], visibility(None, new=3, seen=0))
    # Sums of at most five fp32 products of size 1, in another order.
    torch.testing.assert_close(y_BHTK[:, :, 2:], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("new", "seen"), [(LEAST_ROWS + 3, 0), (4 * LEAST_ROWS + 8, 0), (LEAST_ROWS + 3, 5)])
def test_blocks_of_queries_see_what_all_queries_see(new: int, seen: int) -> None:
    q_BHTK, k_BGTK, v_BGTK = noise(2, 4, new, 4), noise(2, 2, seen + new, 4), noise(2, 2, seen + new, 4)
    document_BT = torch.stack([torch.arange(new) // 50, torch.arange(new) // 200])
    is_visible = visibility(None if seen else document_BT, new=new, seen=seen)
    blocked = attend_blocked(q_BHTK, k_BGTK, v_BGTK, is_visible)
    # Sums of fp32 products of size 1 whose left-out terms are zeros.
    torch.testing.assert_close(blocked, attend_explicit(q_BHTK, k_BGTK, v_BGTK, is_visible), rtol=0, atol=1e-6)


def test_query_heads_share_key_value_heads_in_order() -> None:
    q_BHTK, k_BGTK, v_BGTK = noise(2, 6, 3, 4), noise(2, 2, 3, 4), noise(2, 2, 3, 4)
    is_visible = visibility(None, new=3, seen=0)
    shared = attend_explicit(q_BHTK, k_BGTK, v_BGTK, is_visible)
    repeated = attend_explicit(
        q_BHTK, k_BGTK.repeat_interleave(3, dim=1), v_BGTK.repeat_interleave(3, dim=1), is_visible
    )
    torch.testing.assert_close(shared, repeated, rtol=0, atol=1e-6)
    torch.testing.assert_close(shared, attend_sdpa(q_BHTK, k_BGTK, v_BGTK, is_visible), rtol=0, atol=1e-6)


DOCUMENT_BT = torch.tensor([[1, 1, 1, 2, 2, 2]])
TOKENS_BT = torch.tensor([[1, 7, 8, 1, 9, 10]])
OTHER_BT = torch.tensor([[1, 70, 80, 1, 9, 10]])
SECOND = slice(3, None)


def logits_and_gradients(
    model: Transformer, tokens_BT: Tensor, document_BT: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of the second document, and the gradients of a loss over it alone."""
    model.zero_grad()
    logits_BTV = model(tokens_BT, document_BT)[:, SECOND]
    logits_BTV.logsumexp(-1).sum().backward()
    return logits_BTV.detach(), {
        name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None
    }


@pytest.mark.parametrize("compute", list(Compute))
@pytest.mark.parametrize("is_narrow", [False, True])
@pytest.mark.parametrize("kernel", list(Kernel))
def test_another_document_before_changes_no_logit_and_no_gradient(
    config: ModelConfig, kernel: Kernel, compute: Compute, is_narrow: bool
) -> None:
    model = Transformer(config, kernel, compute=compute, is_stream_narrow=is_narrow)
    initialize(model, seed=1, std=0.3)
    logits, gradients = logits_and_gradients(model, TOKENS_BT, DOCUMENT_BT)
    other_logits, other_gradients = logits_and_gradients(model, OTHER_BT, DOCUMENT_BT)
    assert torch.equal(logits, other_logits)
    assert gradients.keys() == other_gradients.keys() == dict(model.named_parameters()).keys()
    assert [name for name, gradient in gradients.items() if not torch.equal(gradient, other_gradients[name])] == []
    # Tokens 7 and 8 stand in the first document only.
    assert not gradients["embedding.weight"][[7, 8]].any() and gradients["embedding.weight"][[9, 10]].any()
    # Without documents both leave a trace.
    logits, gradients = logits_and_gradients(model, TOKENS_BT, None)
    assert not torch.equal(logits, logits_and_gradients(model, OTHER_BT, None)[0])
    assert gradients["embedding.weight"][[7, 8]].any(dim=1).all()


@torch.inference_mode()
def test_a_later_token_changes_no_earlier_logit(config: ModelConfig) -> None:
    model = model_of(config)
    tokens_BT = torch.tensor([[1, 7, 8, 9]])
    changed_BT = torch.tensor([[1, 7, 8, 99]])
    assert torch.equal(model(tokens_BT)[:, :3], model(changed_BT)[:, :3])
    assert not torch.equal(model(tokens_BT)[:, 3], model(changed_BT)[:, 3])


@torch.inference_mode()
@pytest.mark.parametrize("kernel", list(Kernel))
def test_decoding_with_a_cache_gives_the_logits_of_the_whole_window(config: ModelConfig, kernel: Kernel) -> None:
    model = model_of(config, kernel)
    tokens_BT = (torch.arange(40) * 37 % 100).view(1, 40)
    cache = Cache(config.n_layers)
    pieces = [model(tokens_BT[:, at:end], cache=cache) for at, end in [(0, 30), *((t, t + 1) for t in range(30, 40))]]
    whole_BTV = model(tokens_BT)
    # The same sums in fp32 over other shapes: logits of size 10, about ten roundings of 2^-24 of them deep.
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole_BTV, rtol=0, atol=1e-4)
    assert torch.equal(torch.cat(pieces, dim=1).argmax(-1), whole_BTV.argmax(-1))


def test_more_positions_than_the_model_has_are_refused(config: ModelConfig) -> None:
    with pytest.raises(ConfigError, match=r"65 positions exceed model\.max_seq_len 64"):
        model_of(config)(torch.zeros(1, 65, dtype=torch.int64))
