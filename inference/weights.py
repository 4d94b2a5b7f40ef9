"""Reads a checkpoint's weights, after holding them against the hash in the checkpoint's manifest."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from core.artifact import Artifact
from core.errors import ConfigError, DataError
from core.hashing import hash_file
from core.profile import Attention
from model.config import ModelConfig
from model.names import hugging_face_name
from model.transformer import Transformer

WEIGHTS = "model.safetensors"
MANIFEST = "manifest.json"


def load_trained(train: Artifact, *, attention: Attention) -> Transformer:
    """The model that a train artifact ended with. Raises DataError if something of it is missing or changed."""
    checkpoint = train.folder / str(train.facts["final"])
    return load_model(checkpoint, config=trained_config(train), attention=attention)


def trained_config(train: Artifact) -> ModelConfig:
    """The shape that a train artifact's model has."""
    return read_model_config(train.folder / "config.json")


def read_model_config(path: Path) -> ModelConfig:
    """The shape in the configuration that a training wrote. Raises DataError if it is missing or damaged."""
    record = _read_json(path)
    try:
        return ModelConfig(**record["model"])
    except (KeyError, TypeError, ConfigError) as error:
        raise DataError(f"{path} holds no model configuration of this code: {error}; train again") from error


def load_model(checkpoint: Path, *, config: ModelConfig, attention: Attention) -> Transformer:
    """The model whose weights a checkpoint holds, for evaluation only: its parameters take no gradient.

    Raises DataError if the weights are not those of the checkpoint's manifest, or not of this shape.
    """
    path = checkpoint / WEIGHTS
    _verify(path, _entry(checkpoint))
    return _filled(safetensors.torch.load_file(path), path, config=config, attention=attention)


def load_published(folder: Path, *, config: ModelConfig, attention: Attention) -> Transformer:
    """The model whose weights a folder holds that stage export wrote, by their names there; for evaluation only.

    A head that was divided by a width factor is multiplied again. Raises DataError for other tensors than this shape's.
    """
    path = folder / WEIGHTS
    with torch.device("meta"):
        names = {hugging_face_name(name): name for name in Transformer(config, attention).state_dict()}
    found = safetensors.torch.load_file(path)
    tensors = {names.get(name, name): tensor for name, tensor in found.items()}
    if config.base_dim and "head.weight" in tensors:
        tensors["head.weight"] = tensors["head.weight"] * config.width_factor
    return _filled(tensors, path, config=config, attention=attention)


def _filled(tensors: dict[str, torch.Tensor], path: Path, *, config: ModelConfig, attention: Attention) -> Transformer:
    with torch.device("meta"):
        model = Transformer(config, attention)
    expected = {name: (weight.shape, torch.float32) for name, weight in model.state_dict().items()}
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    strange = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if strange:
        raise DataError(
            f"{path}: tensor {strange[0]} is {_say(found.get(strange[0]))}, "
            f"this configuration has {_say(expected.get(strange[0]))}; give the checkpoint its own configuration"
        )
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)


def _entry(checkpoint: Path) -> dict[str, Any]:
    files = _read_json(checkpoint / MANIFEST).get("files", [])
    entries: list[dict[str, Any]] = [entry for entry in files if entry["path"] == WEIGHTS]
    if not entries:
        raise DataError(f"{checkpoint / MANIFEST} lists no {WEIGHTS}; take another checkpoint")
    return entries[0]


def _verify(path: Path, entry: dict[str, Any]) -> None:
    try:
        found = hash_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; take another checkpoint") from error
    if found != entry["sha256"]:
        raise DataError(
            f"{path} has SHA-256 {found}, its {MANIFEST} says {entry['sha256']}; the weights are damaged, "
            "take another checkpoint"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}; take another checkpoint or train again") from error
    return record


def _say(kind: tuple[torch.Size, torch.dtype] | None) -> str:
    return f"{list(kind[0])} {kind[1]}" if kind else "absent"
