"""Weights are taken by their hash, and never those of another shape, kind or tokenizer."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from core.config import identity
from core.errors import ConfigError, DataError
from core.hashing import hash_file
from model.names import hugging_face_name
from posttrain.found import check_parent, check_tokenizer, find_weights
from posttrain.shapes import shapes_of
from posttrain.tensors import open_weights, write_manifest, write_weights
from tests.models import small_config

MODEL = replace(small_config(), dim=16, n_layers=1, n_heads=2, n_kv_heads=1, ffn_dim=16, vocab_size=32, max_seq_len=16)
SHAPES = shapes_of(MODEL)


def tensors(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: (torch.arange(math.prod(shape)) % 7 / 8).reshape(shape).to(dtype) for name, shape in SHAPES.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("is_theirs", [False, True])
def test_weights_are_read_exactly_by_either_name_in_every_kind(
    tmp_path: Path, dtype: torch.dtype, is_theirs: bool
) -> None:
    named = {hugging_face_name(name) if is_theirs else name: one for name, one in tensors(dtype).items()}
    safetensors.torch.save_file(named, tmp_path / "model.safetensors")
    opened = open_weights(tmp_path / "model.safetensors", SHAPES)
    for name, tensor in tensors(torch.float32).items():
        assert (opened.read(name) == tensor.numpy()).all()


def test_what_is_written_is_what_the_library_reads(tmp_path: Path) -> None:
    wanted = {name: tensor.numpy() for name, tensor in tensors(torch.float32).items()}
    write_weights(tmp_path / "model.safetensors", SHAPES, lambda name: wanted[name])
    found = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert found.keys() == wanted.keys() and all((found[name] == wanted[name]).all() for name in wanted)
    assert write_manifest(tmp_path) == hash_file(tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="no finite number"):
        write_weights(tmp_path / "bad.safetensors", SHAPES, lambda name: wanted[name] * np.float32(np.nan))


def test_weights_of_another_shape_are_refused_by_the_first_tensor_that_differs(tmp_path: Path) -> None:
    odd = tensors(torch.float32)
    odd["head.weight"] = torch.zeros(33, 16)
    safetensors.torch.save_file(odd, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"tensor head\.weight is \('F32', \[33, 16\]\), section model has \[32, 16\]"):
        open_weights(tmp_path / "model.safetensors", SHAPES)
    del odd["head.weight"]
    safetensors.torch.save_file(odd, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"tensor head\.weight is absent"):
        open_weights(tmp_path / "model.safetensors", SHAPES)


def test_weights_are_found_by_their_hash_wherever_a_folder_has_them(tmp_path: Path) -> None:
    inner = tmp_path / "checkpoints/step-000004"
    inner.mkdir(parents=True)
    (inner / "model.safetensors").write_bytes(b"four")
    digest = hash_file(inner / "model.safetensors")
    assert find_weights(tmp_path, digest) == inner / "model.safetensors"
    with pytest.raises(ConfigError, match=rf"no model\.safetensors in .* has SHA-256 0+; there is .*{digest}"):
        find_weights(tmp_path, "0" * 64)
    with pytest.raises(ConfigError, match="is no folder"):
        find_weights(tmp_path / "gone", digest)


def test_another_model_or_tokenizer_is_refused_in_one_line(tmp_path: Path) -> None:
    path, ours = tmp_path / "theirs/model.safetensors", tmp_path / "ours"
    for folder in (path.parent, ours):
        folder.mkdir()
        (folder / "tokenizer.model").write_bytes(b"pieces")
    with pytest.raises(ConfigError, match=r"no config\.json beside the weights"):
        check_parent(path, path.parent, MODEL)
    (path.parent / "config.json").write_text(json.dumps({"model": identity(MODEL)}))
    check_parent(path, path.parent, MODEL)
    (path.parent / "config.json").write_text(json.dumps({"model": {**identity(MODEL), "rope_theta": 5e5}}))
    with pytest.raises(
        ConfigError, match=r"has rope_theta 500000\.0, section model 10000\.0; only models of one shape"
    ):
        check_parent(path, path.parent, MODEL)
    check_tokenizer(path, path.parent, ours)
    (path.parent / "tokenizer.model").write_bytes(b"others")
    with pytest.raises(ConfigError, match="only models of one tokenizer can be merged"):
        check_tokenizer(path, path.parent, ours)
    (path.parent / "tokenizer.model").unlink()
    with pytest.raises(ConfigError, match=r"no tokenizer\.model beside the weights"):
        check_tokenizer(path, path.parent, ours)
