"""Whether a folder of weights is of one piece: every tensor has the shape that its configuration says.

Covers decoders of Llama's shape (model_type llama, qwen2, qwen3, mistral, olmo2: q, k, v, o and a gated feed-forward),
which is what this code exports. Reads headers only; nothing of the folder is run.
"""

import json
from pathlib import Path
from typing import Any

from core.errors import DataError
from release.weights import read_tensors

WEIGHTS, CONFIG = "model.safetensors", "config.json"
DECODERS = ("llama", "mistral", "qwen2", "qwen3", "olmo2")
Shape = tuple[int, ...]


def first_strange_shape(folder: Path) -> str:
    """What is wrong with the first tensor that is missing, added or of another shape; an empty string if none is.

    Of other kinds of models only the headers are read. Raises DataError if configuration or weights cannot be read.
    """
    config = read_config(folder)
    if not is_known(config):
        read_tensors(folder / WEIGHTS)
        return ""
    wanted = shapes(config)
    held = {name: tensor.shape for name, tensor in read_tensors(folder / WEIGHTS).items()}
    for name in sorted(wanted.keys() | held.keys()):
        if name not in held:
            return f"{name} is missing from {WEIGHTS}"
        if name not in wanted and not name.endswith((".bias", "norm.weight")):
            return f"{name} is in {WEIGHTS}, and nothing in {CONFIG} asks for it"
        if name in wanted and held[name] != wanted[name]:
            return f"{name} has shape {list(held[name])} in {WEIGHTS}, and {list(wanted[name])} by {CONFIG}"
    return ""


def is_known(config: dict[str, Any]) -> bool:
    """Whether the shapes of this kind of model are known here."""
    return config.get("model_type") in DECODERS


def say(config: dict[str, Any]) -> str:
    """What `first_strange_shape` proves of a sound folder."""
    if is_known(config):
        return "every tensor has the shape that config.json says"
    return f"headers can be read; the shapes of model_type {config.get('model_type')} are not known here"


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a folder of weights. Raises DataError if it is missing or damaged."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / CONFIG} is missing or damaged: {error}; get the folder again") from error
    if not isinstance(config, dict):
        raise DataError(f"{folder / CONFIG} is no JSON object; get the folder again")
    return config


def shapes(config: dict[str, Any]) -> dict[str, Shape]:
    """The shape of every matrix and of the embedding, by Hugging Face's names."""
    dim, ffn, vocab = (int(config[name]) for name in ("hidden_size", "intermediate_size", "vocab_size"))
    n_heads = int(config["num_attention_heads"])
    head_dim = int(config.get("head_dim") or dim // n_heads)
    kv_dim = int(config.get("num_key_value_heads") or n_heads) * head_dim
    layer: dict[str, Shape] = {
        "self_attn.q_proj": (n_heads * head_dim, dim),
        "self_attn.k_proj": (kv_dim, dim),
        "self_attn.v_proj": (kv_dim, dim),
        "self_attn.o_proj": (dim, n_heads * head_dim),
        "mlp.gate_proj": (ffn, dim),
        "mlp.up_proj": (ffn, dim),
        "mlp.down_proj": (dim, ffn),
    }
    wanted: dict[str, Shape] = {"model.embed_tokens.weight": (vocab, dim), "model.norm.weight": (dim,)}
    if not config.get("tie_word_embeddings"):
        wanted["lm_head.weight"] = (vocab, dim)
    for index in range(int(config["num_hidden_layers"])):
        wanted |= {f"model.layers.{index}.{name}.weight": shape for name, shape in layer.items()}
    return wanted
