"""`data verify` passes what is whole in every shape that a corpus has, and names everything that was changed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError, DataError
from core.hashing import canonical_json, hash_value
from data.corpus.manifest import read_manifest
from tests.conftest import run_module
from tests.data.corpora import folder_of, run_verb
from tests.release.forgery import flip_bit

# What is changed in a published corpus, and which check says what of it.
CHANGES = {
    "pack/alpha-00000.bin": "FAIL shards: tokens: ",
    "pack/alpha-00000.idx": "FAIL shards: ends of documents: ",
    "pack/alpha-00000.keys": "FAIL shards: document keys: ",
    "pack/alpha-00000.json": "FAIL shards: ",
    "pack/order.json": "FAIL order: ",
    "../tokenizer/tokenizer.model": "FAIL tokenizer: ",
    "evidence/alpha/COPYING": "FAIL evidence: evidence of alpha: ",
    "heldout/alpha.jsonl": "FAIL documents: ",
    "report.json": "FAIL conservation: ",
    "sources.json": "FAIL evidence: ",
    "CARD.md": "FAIL derived: ",
    "croissant.json": "FAIL derived: ",
}


def failures(folder: Path, *arguments: object) -> list[str]:
    """The lines that name what is wrong; the verb must end with an error if, and only if, there are some."""
    ended = capture(folder, *arguments)
    return [line for line in ended if line.startswith("FAIL")]


def capture(folder: Path, *arguments: object) -> list[str]:
    import contextlib
    import io

    from data.corpus.verify import main

    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        try:
            main([str(folder), *map(str, arguments)])
            is_refused = False
        except DataError:
            is_refused = True
    lines = written.getvalue().splitlines()
    assert is_refused == any(line.startswith("FAIL") for line in lines), lines
    return lines


def reseal(path: Path, change: Any) -> None:
    """Change a manifest and seal it again, as a forger would."""
    manifest = read_manifest(path)
    change(manifest)
    path.write_bytes(canonical_json({**manifest, "seal": hash_value(manifest)}))


def test_a_run_a_bundle_and_its_data_folder_pass(made_corpus: Path, published: Path) -> None:
    for folder in (made_corpus, published, published.parent):
        lines = capture(folder)
        assert [line.split(":")[0] for line in lines] == [
            f"ok   {name}"
            for name in (
                *("manifest", "conservation", "evidence", "documents"),
                *("tokenizer", "order", "shards", "derived"),
            )
        ]


def test_a_folder_with_nothing_but_manifest_and_shards_passes_and_says_what_is_not_there(
    made_corpus: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder_of(made_corpus, "pack"), tmp_path / "flat")
    shutil.copy(folder_of(made_corpus, "manifest") / "manifest.json", tmp_path / "flat")
    lines = capture(tmp_path / "flat")
    assert "ok   tokenizer: not here: tokenizer.model" in lines
    assert "ok   evidence: not here: evidence/, 1 files" in lines


def test_a_run_is_held_against_the_artifacts_that_its_manifest_names(made_corpus: Path, corpus_runs: Path) -> None:
    run_verb("pack", made_corpus.parent / "small.yaml", f"run.out={corpus_runs}", "pack.seed=2")
    assert failures(corpus_runs) == []


@pytest.mark.parametrize("name", CHANGES)
def test_one_flipped_bit_is_named(published: Path, name: str) -> None:
    flip_bit(published / name)
    lines = failures(published)
    assert any(line.startswith(CHANGES[name]) for line in lines), lines


@pytest.mark.parametrize(
    "name", ["pack/beta-00000.bin", "pack/beta-00000.keys", "evidence/alpha/COPYING", "heldout/beta.jsonl"]
)
def test_a_missing_file_is_named(published: Path, name: str) -> None:
    (published / name).unlink()
    assert any("is missing" in line and name in line for line in failures(published))


def test_every_failure_has_its_own_line(published: Path) -> None:
    for name in ("pack/alpha-00000.bin", "pack/beta-00000.bin", "evidence/alpha/COPYING"):
        flip_bit(published / name)
    assert len(failures(published)) == 3


def test_a_resealed_manifest_with_other_numbers_does_not_agree_with_itself(published: Path) -> None:
    def drop_less(manifest: dict[str, Any]) -> None:
        manifest["cleaning"]["total"]["dropped"]["documents"] -= 1

    reseal(published / "manifest.json", drop_less)
    assert any(line.startswith("FAIL conservation: clean: 505 documents of total") for line in failures(published))


def test_a_resealed_manifest_with_another_source_does_not_have_its_root(published: Path) -> None:
    def claim(manifest: dict[str, Any]) -> None:
        manifest["sources"][0]["files"][0]["sha256"] = "0" * 64

    reseal(published / "manifest.json", claim)
    assert any(line.startswith("FAIL manifest: root sources is ") for line in failures(published))


def test_another_licence_than_the_fetched_papers_say_is_named(published: Path) -> None:
    def claim(manifest: dict[str, Any]) -> None:
        manifest["sources"][0]["license"] = "MIT"

    reseal(published / "manifest.json", claim)
    assert any("another license of source alpha" in line for line in failures(published))


def test_the_root_that_a_verifier_expects_is_held_against_the_manifest(published: Path) -> None:
    root = read_manifest(published / "manifest.json")["roots"]["corpus"]
    assert failures(published, "--root", root) == []
    assert failures(published, "--root", "0" * 64) == [
        f"FAIL manifest: the corpus's root is {root}, you expect {'0' * 64}"
    ]


def test_a_sample_reads_only_the_leaves_that_its_seed_draws(published: Path) -> None:
    count = len(read_manifest(published / "manifest.json")["shards"])
    flip_bit(published / "pack" / "alpha-00000.bin")
    found = {seed: failures(published, "--sample", 1, "--seed", seed) for seed in range(20)}
    hits = [lines for lines in found.values() if lines]
    assert 0 < len(hits) < 20
    assert set(map(tuple, hits)) == {
        ("FAIL shards: leaf 0 of shard alpha-00000 does not have its hash; get the shard again",)
    }
    assert failures(published, "--sample", count, "--seed", 1) == hits[0]


def test_a_sample_says_its_seed_and_leaves_that_do_not_give_the_root_are_refused(published: Path) -> None:
    (line,) = [line for line in capture(published, "--sample", 2) if "shards" in line and "seed" in line]
    seed = int(line.rpartition("seed ")[2].split(",")[0])
    assert line in capture(published, "--sample", 2, "--seed", seed)
    path = published / "leaves.jsonl"
    rows = [json.loads(row) for row in path.read_bytes().splitlines()]
    rows[0]["leaves"] = ["0" * 64]
    path.write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))
    assert failures(published, "--sample", 1) == [
        "FAIL shards: leaves.jsonl does not give the Merkle root of shard alpha-00000; get it again"
    ]


def test_the_verb_ends_with_66_and_one_line_on_damage_and_64_on_strange_arguments(published: Path) -> None:
    flip_bit(published / "pack" / "beta-00000.bin")
    ended = run_module("data", "verify", published)
    assert ended.returncode == 66
    assert ended.stderr == f"error: {published} is not what its manifest says, in 1 places; they are named above\n"
    with pytest.raises(ConfigError, match="--sample is -1"):
        run_verb("verify", published, "--sample", -1)
    with pytest.raises(DataError, match=r"no manifest\.json in "):
        run_verb("verify", published / "pack")
