import dataclasses
import hashlib
import json
import multiprocessing
import os
import random
import signal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.artifact import Artifact, open_artifact
from core.errors import ConfigError, DataError, RetryError
from data.documents import read_documents, write_documents
from data.loader import Loader
from data.pack import encode_all, in_key_order
from data.packconfig import PackConfig
from data.shards import document_ends
from data.tokenizer import Tokenizer, TokenizerConfig, train
from tests.conftest import run_module, sentence, write_recipe
from tests.data.packs import documents_of, write_clean


def texts(seed: int, count: int) -> list[str]:
    source = random.Random(seed)
    return ["\n".join(sentence(source) for _ in range(source.randint(1, 4))) for _ in range(count)]


TEXTS = {"alpha": texts(1, 900), "beta": texts(2, 500), "unused": texts(3, 10)}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose stages clean and tokenizer have been run."""
    folder = tmp_path_factory.mktemp("pack")
    path = write_recipe(folder)
    write_clean(folder / "runs", TEXTS, heldout={}, shards=2)
    assert run_module("data", "tokenizer", path).returncode == 0
    return path


@pytest.fixture(scope="module")
def pack(recipe: Path) -> Artifact:
    return packed(recipe, recipe.parent / "runs")


def packed(recipe: Path, out: Path, *overrides: str) -> Artifact:
    """The artifact of stage pack, made by a real process in a folder of its own."""
    arguments = [f"run.out={out}", f"run.inputs={recipe.parent / 'runs'}", "pack.shard_tokens=9000", *overrides]
    ended = run_module("data", "pack", recipe, *arguments)
    assert ended.returncode == 0, ended.stderr
    return open_artifact(Path(ended.stdout.strip()))


@pytest.mark.parametrize("workers", [2, 3])
def test_the_shards_are_the_same_bytes_for_any_number_of_processes(
    recipe: Path, pack: Artifact, tmp_path: Path, workers: int
) -> None:
    assert packed(recipe, tmp_path, f"pack.workers={workers}").digest == pack.digest


def test_another_seed_changes_the_root_and_not_the_shards(recipe: Path, pack: Artifact, tmp_path: Path) -> None:
    other = packed(recipe, tmp_path, "pack.seed=2")
    assert other.facts["data_root"] != pack.facts["data_root"]
    one, changed = pack.record["files"], other.record["files"]
    assert [entry["path"] for entry in changed] == [entry["path"] for entry in one]
    assert [entry["path"] for entry in changed if entry not in one] == ["order.json"]


def test_the_shards_decode_to_the_documents_in_the_order_of_their_keys(recipe: Path, pack: Artifact) -> None:
    tokenizer = Tokenizer.open(next((recipe.parent / "runs").glob("tokenizer-*")))
    record = json.loads((pack.folder / "order.json").read_bytes())
    assert [source["name"] for source in record["sources"]] == ["alpha", "beta"]
    for source in record["sources"]:
        assert len(source["shards"]) > 1
        decoded = []
        for sidecar in source["shards"]:
            ends = [0, *document_ends(pack.folder, sidecar).tolist()]
            tokens = np.fromfile(pack.folder / f"{sidecar['name']}.bin", dtype="<u2").tolist()
            assert ends[-1] == len(tokens) == sidecar["tokens"] <= 9000
            for start, end in pairwise(ends):
                assert (tokens[start], tokens[end - 1]) == (1, 2)
                decoded.append(tokenizer.decode(tokens[start + 1 : end - 1]))
        name = source["name"]
        assert decoded == [document.text for document in documents_of(name, TEXTS[name])]


def test_facts_and_order_say_what_is_in_the_pack(pack: Artifact) -> None:
    record = json.loads((pack.folder / "order.json").read_bytes())
    loader = Loader.open(pack.folder, micro_batches=8, micro_batch=2)
    root = hashlib.sha256((pack.folder / "order.json").read_bytes()).hexdigest()
    assert pack.facts["data_root"] == loader.root == root
    assert pack.facts["sources_left_out"] == ["unused"]
    for source in record["sources"]:
        told = pack.facts["sources"][source["name"]]
        assert told["documents"] == len(TEXTS[source["name"]])
        assert told["tokens"] == sum(sidecar["tokens"] for sidecar in source["shards"])
        assert told["tokens"] == 1 + 32 * told["windows"] + told["unused_tokens"]
        text_bytes = sum(len(text.encode()) for text in TEXTS[source["name"]])
        assert told["bytes_per_token"] == round(text_bytes / (told["tokens"] - 2 * told["documents"]), 4)


def test_every_batch_starts_documents_at_bos(pack: Artifact) -> None:
    loader = Loader.open(pack.folder, micro_batches=8, micro_batch=2)
    batches = np.concatenate([loader.batch(step, 0) for step in range(1, 50)])
    follows_eos = batches[:, :-1] == loader.eos_id
    assert follows_eos.sum() > 10
    assert ((batches[:, 1:] == loader.bos_id) == follows_eos).all()


def test_how_the_documents_are_cut_into_files_leaves_no_trace(tmp_path: Path) -> None:
    documents = documents_of("alpha", TEXTS["alpha"])
    whole, parts = tmp_path / "whole.jsonl", [tmp_path / f"part-{part}.jsonl" for part in range(3)]
    write_documents(whole, documents)
    for part, path in enumerate(parts):
        write_documents(path, documents[part::3])
    assert list(in_key_order(parts)) == list(in_key_order([whole])) == documents


def test_unsorted_or_repeated_documents_are_refused(tmp_path: Path) -> None:
    documents = documents_of("alpha", TEXTS["alpha"][:3])
    write_documents(tmp_path / "unsorted.jsonl", documents[::-1])
    write_documents(tmp_path / "sorted.jsonl", documents)
    for names in (["unsorted"], ["sorted", "sorted"]):
        with pytest.raises(DataError, match="out of order or there twice"):
            list(in_key_order([tmp_path / f"{name}.jsonl" for name in names]))
    assert list(in_key_order([tmp_path / "sorted.jsonl"])) == list(read_documents(tmp_path / "sorted.jsonl"))


def test_a_killed_process_is_a_fault_of_the_moment(tmp_path: Path) -> None:
    model = tmp_path / "tokenizer.model"
    model.write_bytes(train((text.encode() for text in TEXTS["alpha"]), TokenizerConfig(vocab_size=400)))
    encoded = encode_all((("alpha", text) for text in TEXTS["alpha"] * 20), model=model, workers=2)
    next(encoded)
    for child in multiprocessing.active_children():
        os.kill(child.pid or 0, signal.SIGKILL)
    with pytest.raises(RetryError, match="run the same command again"):
        list(encoded)


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ("pack.weights.nobody=1", 64, "pack.weights names nobody"),
        ("pack.seq_len=2000000", 66, "fewer than one window of 2000001"),
    ],
)
def test_a_source_that_is_unknown_or_too_small_is_one_clear_line(
    recipe: Path, tmp_path: Path, override: str, code: int, words: str
) -> None:
    arguments = [f"run.out={tmp_path}", f"run.inputs={recipe.parent / 'runs'}", override]
    ended = run_module("data", "pack", recipe, *arguments)
    error = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == code
    assert error.startswith("error: ")
    assert words in error
    assert "Traceback" not in ended.stderr


def test_a_source_without_a_document_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    write_clean(tmp_path / "runs", {"alpha": TEXTS["alpha"], "beta": []}, heldout={})
    assert run_module("data", "tokenizer", recipe).returncode == 0
    ended = run_module("data", "pack", recipe)
    assert ended.returncode == 66
    assert "source beta has 0 tokens" in ended.stderr


@pytest.mark.parametrize("name", ["seq_len", "shard_tokens", "workers"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"pack.{name} is 0"):
        dataclasses.replace(PackConfig(seed=1, seq_len=8, weights={"alpha": 1}), **{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", [{}, {"alpha": 1, "beta": 0}, {"alpha": -1}])
def test_weights_that_are_not_positive_are_refused(weights: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="integers of 1 or more"):
        PackConfig(seed=1, seq_len=8, weights=weights)
