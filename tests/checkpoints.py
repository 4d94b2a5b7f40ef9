"""A run whose artifacts of cleaning, tokenizer and training exist, without training: the weights are the initial ones.

For tests of what comes after training.
"""

import json
from collections.abc import Callable
from pathlib import Path

import safetensors.torch

from core.artifact import Artifact, build, plan
from core.config import identity, load, resolve
from core.hashing import canonical_json, hash_file
from core.profile import Attention
from data.documents import Document, key_of, write_documents
from data.tokenizer import MODEL, TokenizerConfig, split_sentences, train
from model.config import ModelConfig
from model.init import initialize
from model.transformer import Transformer
from tests.conftest import write_recipe

FINAL = "checkpoints/step-000000"
# Ten times the recipe's: logits are then as far apart as a trained model's.
STD = 0.2


def write_run(folder: Path) -> Path:
    """Write the artifacts and return the recipe."""
    recipe = write_recipe(folder)
    texts = {"alpha": _jsonl(folder / "corpus/alpha.jsonl"), "beta": _paragraphs(folder / "corpus/beta.txt")}
    _artifact(recipe, "clean", lambda aside: _write_clean(aside, texts))
    _artifact(recipe, "tokenizer", lambda aside: _write_tokenizer(aside, texts, recipe))
    _artifact(recipe, "train", lambda aside: _write_train(aside, load(str(recipe), "model", ModelConfig)))
    return recipe


def write_checkpoint(folder: Path, config: ModelConfig) -> None:
    """Write model.safetensors and manifest.json of initial weights."""
    model = Transformer(config, Attention.EXPLICIT)
    initialize(model, seed=1, std=STD)
    folder.mkdir(parents=True)
    weights = folder / "model.safetensors"
    safetensors.torch.save_file({name: tensor.detach() for name, tensor in model.state_dict().items()}, weights)
    entry = {"path": weights.name, "bytes": weights.stat().st_size, "sha256": hash_file(weights)}
    (folder / "manifest.json").write_bytes(canonical_json({"step": 0, "files": [entry]}))


def flip_bit(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _artifact(recipe: Path, stage: str, write: Callable[[Path], None]) -> Artifact:
    def write_with_facts(aside: Path) -> dict[str, object]:
        write(aside)
        return {
            "came_in": "-",
            "went_out": "-",
            "final": FINAL,
            "steps": 0,
            "trajectory_head": "0" * 64,
            "weights_sha256": "0" * 64,
        }

    out = Path(str(resolve(str(recipe))["run"]["out"]))
    return build(plan(stage, folder="core", out=out, config={"made": "by a test"}, inputs={}), write_with_facts)


def _write_clean(aside: Path, texts: dict[str, list[str]]) -> None:
    (aside / "heldout").mkdir()
    for source, all_texts in texts.items():
        documents = [
            Document(key=key_of(text), source=source, text=text, origin=str(index))
            for index, text in enumerate(all_texts[:20])
        ]
        write_documents(aside / "heldout" / f"{source}.jsonl", sorted(documents, key=lambda document: document.key))


def _write_tokenizer(aside: Path, texts: dict[str, list[str]], recipe: Path) -> None:
    config = load(str(recipe), "tokenizer", TokenizerConfig)
    sentences = (
        sentence
        for source_texts in texts.values()
        for text in source_texts[20:]
        for sentence in split_sentences(text, max_bytes=config.max_sentence_bytes)
    )
    (aside / MODEL).write_bytes(train(sentences, config))


def _write_train(aside: Path, config: ModelConfig) -> None:
    (aside / "config.json").write_bytes(canonical_json({"model": identity(config)}))
    write_checkpoint(aside / FINAL, config)


def _jsonl(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def _paragraphs(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").strip().split("\n\n")
