"""A checkpoint's weights are loaded as they were written, or refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from core.errors import DataError
from core.hashing import canonical_json
from core.profile import Attention
from inference.weights import load_model
from model.config import ModelConfig
from tests.checkpoints import flip_bit


def load(checkpoint: Path, config: ModelConfig) -> "torch.nn.Module":
    return load_model(checkpoint, config=config, attention=Attention.EXPLICIT)


def test_every_tensor_is_the_stored_one_and_frozen(checkpoint: Path, config: ModelConfig) -> None:
    model = load(checkpoint, config)
    stored = safetensors.torch.load_file(checkpoint / "model.safetensors")
    assert model.state_dict().keys() == stored.keys()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())


def test_a_flipped_bit_is_refused(checkpoint: Path, config: ModelConfig) -> None:
    flip_bit(checkpoint / "model.safetensors")
    with pytest.raises(DataError, match="the weights are damaged, take another checkpoint"):
        load(checkpoint, config)


def test_another_shape_is_refused_by_the_tensor_s_name(checkpoint: Path, config: ModelConfig) -> None:
    with pytest.raises(DataError, match=r"blocks\.0\.feed_forward\.w1\.weight is \[64, 32\].*this.*\[96, 32\]"):
        load(checkpoint, replace(config, ffn_dim=96))
    with pytest.raises(DataError, match=r"tensor blocks\.2.* is absent"):
        load(checkpoint, replace(config, n_layers=3))


def test_a_manifest_without_weights_is_refused(checkpoint: Path, config: ModelConfig) -> None:
    (checkpoint / "manifest.json").write_bytes(canonical_json({"files": []}))
    with pytest.raises(DataError, match=r"lists no model\.safetensors"):
        load(checkpoint, config)


def test_missing_weights_are_refused(checkpoint: Path, config: ModelConfig) -> None:
    assert json.loads((checkpoint / "manifest.json").read_bytes())["files"]
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(DataError, match="No such file"):
        load(checkpoint, config)
