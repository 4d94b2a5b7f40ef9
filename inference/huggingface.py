"""A checkpoint as the folder that Hugging Face's transformers loads as Llama, without remote code.

A model with normed heads is a Qwen3 there. A head that a wider model divides by its width factor is written divided;
capped logits no such class has, and they are refused.

Files: config.json, generation_config.json, model.safetensors, tokenizer.model, tokenizer.json, tokenizer_config.json,
README.md. Old and new keys stand together where version 5 of transformers renamed them: version 4 would take its
default for a key that it does not find (rope_theta), silently.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import safetensors.torch

from data.chat import END, JINJA
from data.tokenizer import Tokenizer
from inference.config import check_exportable
from model.config import ModelConfig
from model.names import hugging_face_name
from model.transformer import Transformer

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
UNK, BOS, EOS = "<unk>", "<s>", "</s>"


def model_config(config: ModelConfig, *, bos_id: int, eos_id: int) -> dict[str, Any]:
    """config.json for a model of this shape. Raises ConfigError for one that transformers has no class for."""
    check_exportable(config)
    return {
        "architectures": ["Qwen3ForCausalLM" if config.is_qk_normed else "LlamaForCausalLM"],
        "model_type": "qwen3" if config.is_qk_normed else "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "intermediate_size": config.ffn_dim,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_seq_len,
        "initializer_range": config.init_std,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": config.is_embedding_tied,
        "use_cache": True,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "dtype": "float32",
        "torch_dtype": "float32",
    }


def write_model(folder: Path, model: Transformer, *, tokenizer: Tokenizer) -> None:
    """Write config.json, generation_config.json and model.safetensors: the same bytes for the same weights."""
    ids = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id}
    _write_json(folder / "config.json", model_config(model.config, **ids))
    # what ends an answer ends generating, too
    ends = [tokenizer.eos_id, tokenizer.special_ids[END]] if tokenizer.is_chat else tokenizer.eos_id
    generation = {"bos_token_id": tokenizer.bos_id, "eos_token_id": ends, "do_sample": False}
    _write_json(folder / "generation_config.json", generation)
    own = model.state_dict()
    if model.config.base_dim:
        own["head.weight"] = own["head.weight"] / model.config.width_factor
    tensors = {hugging_face_name(name): tensor.contiguous() for name, tensor in sorted(own.items())}
    weights = folder / "model.safetensors"
    safetensors.torch.save_file(tensors, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors writes files that only their owner may read


def write_tokenizer(folder: Path, tokenizer_model: Path, *, max_seq_len: int) -> None:
    """Copy the SentencePiece model, and write the same tokenizer in the form that fast loaders read.

    Encoding puts bos in front. The text of a mark (`</s>`) is text, as in training: no text can produce the mark. So a
    conversation is asked for with `apply_chat_template(messages, tokenizer_kwargs={"split_special_tokens": False})`.
    """
    shutil.copyfile(tokenizer_model, folder / "tokenizer.model")
    fast = transformers().LlamaTokenizer.from_pretrained(
        folder, add_prefix_space=False, legacy=False, add_bos_token=True
    )
    fast.backend_tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        # Version 4 of transformers knows no newer name of this class; both read tokenizer.json with it.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": UNK,
        "bos_token": BOS,
        "eos_token": EOS,
        "add_bos_token": True,
        "add_eos_token": False,
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": max_seq_len,
    }
    if Tokenizer.open(tokenizer_model).is_chat:
        config["chat_template"] = JINJA
    _write_json(folder / "tokenizer_config.json", config)


def transformers() -> Any:
    """The package, offline and quiet; imported here because that takes seconds."""
    os.environ.update(QUIET)
    import transformers as package

    package.utils.logging.disable_progress_bar()
    return package


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_bytes(json.dumps(value, indent=2, sort_keys=True, allow_nan=False).encode() + b"\n")
