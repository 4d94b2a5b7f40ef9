"""What can be known without a GPU: torch keeps the switches it is told, and no tensor of a step stays on the CPU."""

from dataclasses import replace

import pytest
import torch

from core.config import load
from core.errors import ConfigError
from core.profile import Attention, Compute, ProfileConfig, SdpaBackend
from model import gpu
from model.config import ModelConfig
from model.gpu import Switch, honour_gpu, set_switches, switches
from model.transformer import Transformer, next_token_loss
from tests.train.ranks import call


def _profile() -> ProfileConfig:
    return load("smoke", "profile", ProfileConfig, ["profile=cuda"])


def _flags(profile: ProfileConfig) -> tuple[list[bool], list[bool]]:
    before = [switch.get() for switch in switches(profile)]
    set_switches(profile)
    return before, [switch.get() for switch in switches(profile)]


def test_torch_is_told_to_keep_precision_and_to_choose_nothing_by_a_clock() -> None:
    profile = _profile()
    wanted = {switch.name: switch.wanted for switch in switches(profile)}
    assert wanted["matmul.allow_tf32"] is wanted["cudnn.benchmark"] is wanted["sdp.flash"] is False
    assert wanted["cudnn.deterministic"] is wanted["sdp.math"] is True
    before, after = call(_flags, profile)
    assert after == list(wanted.values())
    assert before != after


def test_what_the_profile_allows_is_allowed() -> None:
    profile = _profile()
    profile = replace(
        profile, cuda=replace(profile.cuda, is_tf32_allowed=True, sdpa_backends=[SdpaBackend.MATH, SdpaBackend.FLASH])
    )
    allowed = {switch.name for switch in switches(profile) if switch.wanted}
    assert allowed == {"matmul.allow_tf32", "cudnn.allow_tf32", "cudnn.deterministic", "sdp.math", "sdp.flash"}


def test_a_switch_that_torch_does_not_keep_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = Switch("matmul.deaf", lambda value: None, lambda: True, False)
    monkeypatch.setattr(gpu, "switches", lambda profile: [deaf])
    with pytest.raises(ConfigError, match=r"check torch\.matmul\.deaf failed, it is True, asked for was False"):
        set_switches(_profile())


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
def test_a_torch_without_cuda_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"check torch\.build failed, torch .* is built without CUDA"):
        honour_gpu(_profile())


SHAPE = ModelConfig(
    dim=32, n_layers=2, n_heads=4, n_kv_heads=2, ffn_dim=64, vocab_size=64, max_seq_len=64, rope_theta=10000.0,
    norm_eps=1e-5, is_embedding_tied=False, init_std=0.02,
)  # fmt: skip


@pytest.mark.parametrize("attention", Attention)
@pytest.mark.parametrize("compute", Compute)
def test_every_tensor_of_forward_and_backward_is_on_the_models_device(attention: Attention, compute: Compute) -> None:
    # torch refuses to mix `meta`, which has shapes and no values, with the CPU, as it refuses to mix a GPU with it.
    model = Transformer(SHAPE, attention, compute=compute).to("meta")
    loss = next_token_loss(model, torch.zeros(2, 17, dtype=torch.int64, device="meta"), 1, z_loss=0.1)
    loss.followed.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in model.parameters()]
    assert {gradient.device.type for gradient in gradients if gradient is not None} == {"meta"}
    assert None not in gradients


def test_a_tensor_left_on_the_cpu_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from model import transformer

    monkeypatch.setattr(
        transformer, "visibility", lambda document, *, new, seen, device: torch.ones(1, 1, new, new) > 0
    )
    model = Transformer(SHAPE, Attention.EXPLICIT).to("meta")
    with pytest.raises(RuntimeError, match="device"):
        next_token_loss(model, torch.zeros(2, 17, dtype=torch.int64, device="meta"), 1)
