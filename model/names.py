"""The names that Hugging Face's transformers gives our tensors, in Llama and in Qwen3."""

import re

NAMES = {
    r"embedding": "model.embed_tokens",
    r"norm": "model.norm",
    r"head": "lm_head",
    r"blocks\.(\d+)\.attention_norm": r"model.layers.\1.input_layernorm",
    r"blocks\.(\d+)\.attention\.w([qkvo])": r"model.layers.\1.self_attn.\2_proj",
    r"blocks\.(\d+)\.attention\.([qk])_norm": r"model.layers.\1.self_attn.\2_norm",
    r"blocks\.(\d+)\.feed_forward_norm": r"model.layers.\1.post_attention_layernorm",
    r"blocks\.(\d+)\.feed_forward\.w1": r"model.layers.\1.mlp.gate_proj",
    r"blocks\.(\d+)\.feed_forward\.w2": r"model.layers.\1.mlp.down_proj",
    r"blocks\.(\d+)\.feed_forward\.w3": r"model.layers.\1.mlp.up_proj",
}


def hugging_face_name(name: str) -> str:
    """The name that transformers' Llama gives one of our tensors."""
    stem = name.removesuffix(".weight")
    found = [re.sub(pattern, target, stem) for pattern, target in NAMES.items() if re.fullmatch(pattern, stem)]
    assert len(found) == 1, name
    return f"{found[0]}.weight"
