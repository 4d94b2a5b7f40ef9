import dataclasses
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.artifact import Artifact, build, open_artifact, plan
from core.codetree import ROOT
from core.errors import ConfigError
from data.documents import Document, write_documents
from data.loader import Loader
from data.packconfig import PackConfig
from data.shards import document_ends
from data.tokenizer import Tokenizer
from tests.conftest import run_module, sentence, write_recipe
from tests.data.packs import documents_of, write_clean
from tests.data.processes import until


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
    assert packed(recipe, tmp_path, f"data.workers={workers}").digest == pack.digest


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


def inputs_of(recipe: Path, runs: Path, shards: list[list[Document]]) -> Artifact:
    """Inputs of stage pack in `runs`: the recipe's tokenizer, training documents of alpha in shards and of beta."""

    def write(aside: Path) -> dict[str, str]:
        (aside / "train").mkdir()
        for number, shard in enumerate(shards):
            write_documents(aside / "train" / f"alpha-{number:05d}.jsonl", shard)
        write_documents(aside / "train" / "beta-00000.jsonl", documents_of("beta", TEXTS["beta"][:50]))
        return {"came_in": "texts", "went_out": "documents"}

    clean = build(plan("clean", folder="data", out=runs, config={}, inputs={}), write)
    for path in (recipe.parent / "runs").glob("tokenizer*"):
        shutil.copytree(path, runs / path.name) if path.is_dir() else shutil.copy(path, runs)
    return clean


def cut(documents: list[Document], *, shards: int) -> list[list[Document]]:
    size = -(-len(documents) // shards)
    return [documents[at : at + size] for at in range(0, len(documents), size)]


def test_how_the_documents_are_cut_into_files_leaves_no_trace(recipe: Path, tmp_path: Path) -> None:
    files = []
    for shards in (1, 5):
        runs = tmp_path / str(shards)
        inputs_of(recipe, runs, cut(documents_of("alpha", TEXTS["alpha"]), shards=shards))
        ended = run_module("data", "pack", recipe, f"run.out={runs}")
        files.append(open_artifact(Path(ended.stdout.strip())).record["files"])
    assert files[0] == files[1] != []


@pytest.mark.parametrize("order", [[[2, 1, 0]], [[0, 0, 1]], [[1, 2], [0]], [[0, 1], [1, 2]]])
def test_unsorted_or_repeated_documents_are_refused(recipe: Path, tmp_path: Path, order: list[list[int]]) -> None:
    documents = documents_of("alpha", TEXTS["alpha"][:3])
    inputs_of(recipe, tmp_path, [[documents[number] for number in shard] for shard in order])
    ended = run_module("data", "pack", recipe, f"run.out={tmp_path}")
    assert ended.returncode == 66
    assert "is out of order or there twice in" in ended.stderr.splitlines()[-1]


def test_a_killed_pack_goes_on_where_it_was(recipe: Path, tmp_path: Path) -> None:
    """It is killed while it waits for its third shard; of the first two nothing is left then but what was made."""
    shards = cut(documents_of("alpha", TEXTS["alpha"]), shards=4)
    inputs_of(recipe, tmp_path / "whole", shards)
    ended = run_module("data", "pack", recipe, f"run.out={tmp_path / 'whole'}")
    whole = open_artifact(Path(ended.stdout.strip()))
    runs = tmp_path / "killed"
    train = inputs_of(recipe, runs, shards).folder / "train"
    (train / "alpha-00002.jsonl").rename(tmp_path / "third")
    os.mkfifo(train / "alpha-00002.jsonl")
    command = [sys.executable, "-m", "data", "pack", str(recipe), f"run.out={runs}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    until(lambda: len(list(runs.glob(".pack-*.part/.work/encode/.00002-*"))) == 1)
    process.kill()
    process.wait()
    (tmp_path / "third").rename(train / "alpha-00002.jsonl")
    for name in ("alpha-00000.jsonl", "alpha-00001.jsonl"):
        (train / name).write_bytes(b"")
    ended = run_module("data", "pack", recipe, f"run.out={runs}")
    assert open_artifact(Path(ended.stdout.strip())).digest == whole.digest, ended.stderr
    assert not list(runs.rglob(".work"))


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


@pytest.mark.parametrize("name", ["seq_len", "shard_tokens"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"pack.{name} is 0"):
        dataclasses.replace(PackConfig(seed=1, seq_len=8, weights={"alpha": 1}), **{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", [{}, {"alpha": 1, "beta": 0}, {"alpha": -1}])
def test_weights_that_are_not_positive_are_refused(weights: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="integers of 1 or more"):
        PackConfig(seed=1, seq_len=8, weights=weights)
