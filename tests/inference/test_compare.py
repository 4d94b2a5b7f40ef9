"""What transformers makes of an exported folder is ours; a folder that lies is caught."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from core.artifact import current
from core.errors import ConfigError, DeterministicError
from core.profile import Attention
from data.documents import Document, key_of
from data.tokenizer import MODEL, Tokenizer
from inference.compare import compare, heldout_sample
from inference.config import ExportConfig
from inference.huggingface import transformers, write_model, write_tokenizer
from inference.weights import load_model
from model.config import ModelConfig
from model.init import initialize
from model.rotary import rotation_tables
from model.transformer import Transformer
from release.weights import contents

STRANGE = ["", " ", "  two  ", "a</s>b<s><unk>", "日本\t\0x\r\n", "naïve\u0301 👩\u200d👩", "12 345"]


class Exported:
    """A folder and what it was made of."""

    def __init__(self, recipe: Path, checkpoint: Path, folder: Path, config: ModelConfig) -> None:
        runs = recipe.parent / "runs"
        self.folder = folder
        folder.mkdir()
        self.tokenizer = Tokenizer.open(current(runs, "tokenizer").folder)
        self.model = load_model(checkpoint, config=config, attention=Attention.EXPLICIT)
        self.documents = heldout_sample(current(runs, "clean").folder, per_source=5)
        write_model(folder, self.model, tokenizer=self.tokenizer)
        write_tokenizer(folder, current(runs, "tokenizer").folder / MODEL, max_seq_len=config.max_seq_len)

    def edit(self, name: str, **changes: Any) -> None:
        path = self.folder / name
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))

    def compare(self) -> None:
        config = ExportConfig(license="Apache-2.0", logit_documents=2)
        compare(self.folder, self.model, tokenizer=self.tokenizer, documents=self.documents, config=config)


@pytest.fixture
def exported(recipe: Path, checkpoint: Path, tmp_path: Path, config: ModelConfig) -> Exported:
    return Exported(recipe, checkpoint, tmp_path / "folder", config)


def test_heldout_documents_come_from_the_sources_in_turn(exported: Exported) -> None:
    assert [document.source for document in exported.documents[:4]] == ["alpha", "beta", "alpha", "beta"]
    assert len(exported.documents) == 10


def test_the_exported_tokenizer_gives_the_same_ids_and_text_on_strange_texts(exported: Exported) -> None:
    theirs = transformers().AutoTokenizer.from_pretrained(exported.folder)
    for text in STRANGE:
        ids = theirs(text)["input_ids"]
        assert ids == [1, *exported.tokenizer.encode(text)]
        assert theirs.decode(ids, skip_special_tokens=True) == text


def test_an_honest_folder_passes_and_a_wrong_rope_theta_does_not(exported: Exported) -> None:
    exported.compare()
    exported.edit("config.json", rope_theta=20000.0, rope_parameters={"rope_type": "default", "rope_theta": 20000.0})
    with pytest.raises(DeterministicError, match=r"logits on held-out document .* differ by up to"):
        exported.compare()


def test_a_folder_with_more_ends_than_ours_is_compared_to_our_end(exported: Exported) -> None:
    exported.edit("generation_config.json", eos_token_id=list(range(exported.model.config.vocab_size)))
    exported.compare()


def test_other_token_ids_are_caught(exported: Exported) -> None:
    vocabulary = json.loads((exported.folder / "tokenizer.json").read_bytes())
    vocabulary["post_processor"] = None
    (exported.folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(DeterministicError, match="other ids: first at token 0"):
        exported.compare()


def test_a_text_that_spells_a_mark_is_compared_too(exported: Exported) -> None:
    exported.documents = [Document(key=key_of(text), source="s", text=text, origin="0") for text in ["a</s>b c d"] * 2]
    exported.compare()
    exported.edit("tokenizer_config.json", split_special_tokens=False)
    with pytest.raises(DeterministicError, match="other ids"):
        exported.compare()


@torch.inference_mode()
@pytest.mark.parametrize(
    "changes", [{}, {"is_embedding_tied": True}, {"is_qk_normed": True}, {"base_dim": 24}], ids=str
)
@pytest.mark.parametrize("attention", list(Attention))
def test_random_weights_give_transformers_logits(
    exported: Exported, config: ModelConfig, tmp_path: Path, changes: dict[str, Any], attention: Attention
) -> None:
    config = replace(config, rope_theta=500.0, norm_eps=1e-3, **changes)
    model = Transformer(config, attention).eval()
    initialize(model, seed=3, std=0.2)
    for name, weight in model.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            weight.data.copy_(torch.linspace(0.5, 1.5, len(weight)))
    (tmp_path / "other").mkdir()
    write_model(tmp_path / "other", model, tokenizer=exported.tokenizer)
    theirs, loaded = transformers().AutoModelForCausalLM.from_pretrained(tmp_path / "other", output_loading_info=True)
    assert not any(loaded.values()), loaded
    tokens_BT = (torch.arange(120) * 31 % 512).view(2, 60)
    # fp32 sums in another order; inference/compare.py says how far apart they may be.
    torch.testing.assert_close(model(tokens_BT), theirs(tokens_BT).logits, rtol=0, atol=1e-4)


def test_a_head_that_was_divided_is_the_checkpoints_divided(
    exported: Exported, config: ModelConfig, tmp_path: Path
) -> None:
    model = Transformer(replace(config, base_dim=24), Attention.EXPLICIT)
    initialize(model, seed=3, std=0.2)
    write_model(tmp_path, model, tokenizer=exported.tokenizer)
    save_file(model.state_dict(), tmp_path / "trained.safetensors")
    published = contents(tmp_path / "model.safetensors")
    assert published == contents(tmp_path / "trained.safetensors", divisors={"head.weight": model.config.width_factor})
    assert sum((published - contents(tmp_path / "trained.safetensors")).values()) == 1


def test_capped_logits_are_refused(exported: Exported, config: ModelConfig, tmp_path: Path) -> None:
    model = Transformer(replace(config, logit_softcap=30.0), Attention.EXPLICIT)
    with pytest.raises(ConfigError, match=r"model\.logit_softcap is 30, and transformers has no such model"):
        write_model(tmp_path, model, tokenizer=exported.tokenizer)
    assert not list(tmp_path.glob("*.json"))


def test_rotation_tables_are_transformers_to_the_last_bits(config: ModelConfig) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    theirs = LlamaRotaryEmbedding(
        LlamaConfig(hidden_size=64, num_attention_heads=2, rope_parameters={"rope_type": "default", "rope_theta": 1e4})
    )
    cos_BTK, sin_BTK = theirs(torch.zeros(1), torch.arange(512)[None])
    cos_TK, sin_TK = rotation_tables(head_dim=32, theta=10000.0, length=512)
    # A frequency that torch's fp32 power rounds otherwise moves an angle of up to 512 by 2^-16.
    torch.testing.assert_close(cos_BTK[0, :, :16], cos_TK, rtol=0, atol=2**-15)
    torch.testing.assert_close(sin_BTK[0, :, 16:], sin_TK, rtol=0, atol=2**-15)
    assert (cos_BTK[0, :, :16] == cos_TK).double().mean() > 0.9
