"""The manifest says everything, says nothing of this machine, and is refused where numbers or artifacts disagree."""

import hashlib
import json
import platform
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.artifact import current
from core.config import identity, load
from core.errors import DataError
from core.hashing import hash_file, hash_value, sha256_hex
from core.merkle import chunk_root, leaf_hash
from data.cleanconfig import CleanConfig
from data.corpus.environment import environment, imported_distributions
from data.corpus.leaves import read_leaves
from data.corpus.manifest import check_keys, read_manifest, sidecars_of
from data.corpus.origins import locator
from data.corpus.redone import write_recipe
from data.documents import read_documents
from data.packconfig import PackConfig
from data.sources.config import SourcesConfig
from data.tokenizer import Tokenizer, TokenizerConfig
from tests.data.corpora import STAGES, folder_of, make_corpus, run_verb


@pytest.fixture(scope="module")
def manifest(made_corpus: Path) -> dict[str, Any]:
    return read_manifest(folder_of(made_corpus, "manifest") / "manifest.json")


def test_every_source_has_an_exact_locator_a_licence_and_its_evidence_by_hash(manifest: dict[str, Any]) -> None:
    alpha, beta = manifest["sources"]
    assert (alpha["name"], alpha["kind"], alpha["license"]) == ("alpha", "files", "CC0-1.0")
    assert alpha["locator"] == f"sha256:{alpha['sha256']}"
    assert [entry["name"] for entry in alpha["files"]] == ["alpha-more.jsonl", "alpha.jsonl"]
    assert [entry["sha256"] for entry in alpha["evidence"]] == [sha256_hex(b"No rights reserved.\n")]
    assert alpha["bytes"] == sum(entry["bytes"] for entry in alpha["files"])
    assert beta["sha256"] == beta["files"][0]["sha256"]
    assert (alpha["pattern"], beta["pattern"]) == ("alpha*.jsonl", "beta.txt")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            {"kind": "pypi", "package": "Plays", "version": "0.6", "file": "Plays-0.6.tar.gz"},
            "pkg:pypi/plays@0.6?file_name=Plays-0.6.tar.gz",
        ),
        (
            {"kind": "debian", "package": "help-zh:all", "version": "4:7.4-1", "file": "help.deb"},
            "pkg:deb/debian/help-zh@4%3A7.4-1?arch=all",
        ),
        (
            {"kind": "huggingface", "package": "people/set", "version": "a" * 40, "file": ""},
            f"pkg:huggingface/people/set@{'a' * 40}",
        ),
        ({"kind": "http", "package": "", "version": "", "file": "x"}, f"sha256:{'0' * 64}"),
    ],
)
def test_a_locator_is_a_package_url_or_else_the_contents_hash(record: dict[str, str], said: str) -> None:
    assert locator({**record, "sha256": "0" * 64}) == said


def test_every_stage_has_code_configuration_counts_and_drops_by_reason(
    made_corpus: Path, manifest: dict[str, Any]
) -> None:
    stages = {stage["stage"]: stage for stage in manifest["stages"]}
    assert tuple(stages) == STAGES[:-1]
    for name, stage in stages.items():
        artifact = current(made_corpus, name)
        assert (stage["digest"], stage["key"]) == (artifact.digest, artifact.record["key"])
        assert stage["config_sha256"] == hash_value(artifact.record["config"])
        assert stage["code"] == manifest["code"]["sha256"]
    assert stages["clean"]["in"]["documents"] == 505
    assert stages["clean"]["dropped"] == {
        "contaminated_quiz": 1,
        "duplicate": 1,
        "refused_dollar": 1,
        "too_few_chars": 1,
    }
    assert stages["clean"]["errors"] == {}
    assert stages["pack"]["in"]["documents"] == stages["tokenizer"]["in"]["documents"]
    assert manifest["cleaning"]["total"]["masked"] == {"email": 1}
    assert manifest["benchmarks"][0]["found"]["documents"] == 1


def test_every_shard_has_its_hashes_its_merkle_root_and_its_counts(made_corpus: Path, manifest: dict[str, Any]) -> None:
    pack = folder_of(made_corpus, "pack")
    leaves = read_leaves(folder_of(made_corpus, "manifest") / "leaves.jsonl")
    assert len(manifest["shards"]) > 2
    for shard in manifest["shards"]:
        content = (pack / f"{shard['name']}.bin").read_bytes()
        assert shard["bin"]["sha256"] == hashlib.sha256(content).hexdigest()
        assert shard["bin"]["merkle_root"] == chunk_root(memoryview(content)).hex()
        assert leaves[shard["name"]] == [leaf_hash(content).hex()]
        assert shard["tokens"] == len(content) // 2
        assert shard["keys"] == {
            "bytes": 16 * shard["documents"],
            "sha256": hash_file(pack / f"{shard['name']}.keys"),
        }
    assert sidecars_of(manifest) == [
        json.loads((pack / f"{shard['name']}.json").read_bytes()) for shard in manifest["shards"]
    ]


def test_order_tokenizer_and_roots_are_those_of_the_files(made_corpus: Path, manifest: dict[str, Any]) -> None:
    order = json.loads((folder_of(made_corpus, "pack") / "order.json").read_bytes())
    assert manifest["order"]["sha256"] == hash_file(folder_of(made_corpus, "pack") / "order.json")
    for name in ("seed", "seq_len", "phases", "vectors", "format"):
        assert manifest["order"][name] == order[name]
    assert manifest["roots"]["tokenizer"] == hash_file(folder_of(made_corpus, "tokenizer") / "tokenizer.model")
    assert len(set(manifest["roots"].values())) == len(manifest["roots"]) == 6


def test_versions_are_those_that_the_code_imports_and_the_lock_pins(manifest: dict[str, Any]) -> None:
    said = manifest["environment"]
    assert said == environment()
    assert {"resiliparse", "sentencepiece", "numpy", "py3langid"} <= said["packages"].keys()
    # torch is pinned, but data/ does not import it; pytest is imported by nobody there
    assert not {"torch", "pytest"} & (said["packages"].keys() | imported_distributions())
    assert said["models"]["py3langid"]["file"] == "model.npz.xz"
    assert said["unicode"] == manifest["cleaning"]["unicode"]


def test_the_recipe_in_the_manifest_is_all_that_the_sections_need(manifest: dict[str, Any], tmp_path: Path) -> None:
    sections = json.loads(json.dumps(manifest["recipe"]["sections"]))
    for item in sections["sources"]["items"]:
        item["path"] = "somewhere"
    recipe = str(write_recipe(tmp_path / "again.yaml", sections))
    for section, schema in {
        "sources": SourcesConfig,
        "clean": CleanConfig,
        "tokenizer": TokenizerConfig,
        "pack": PackConfig,
    }.items():
        assert identity(load(recipe, section, schema)) == manifest["recipe"]["sections"][section]


def test_a_text_that_looks_like_an_interpolation_is_read_back_as_it_was(tmp_path: Path) -> None:
    odd = {"seed": 1, "heldout_permille": 1, "filters": {"refused": {"odd": "a${5"}}}
    recipe = write_recipe(tmp_path / "odd.yaml", {"clean": odd})
    assert load(str(recipe), "clean", CleanConfig).filters.refused == {"odd": "a${5"}


def test_another_folder_gives_the_same_bytes_and_none_of_them_names_this_machine(
    made_corpus: Path, tmp_path: Path
) -> None:
    again = make_corpus(tmp_path / "elsewhere")
    for path in sorted(folder_of(made_corpus, "manifest").glob("*.*")):
        content = path.read_bytes()
        assert content == (folder_of(again, "manifest") / path.name).read_bytes()
        for strange in (str(made_corpus.parent), platform.node(), f"{Path.home()}/"):
            assert strange.encode() not in content, f"{path.name} names {strange}"


def test_artifacts_that_were_not_made_from_each_other_are_refused(corpus_runs: Path, made_corpus: Path) -> None:
    recipe = made_corpus.parent / "small.yaml"
    run_verb("clean", recipe, f"run.out={corpus_runs}", "clean.seed=2")
    with pytest.raises(DataError, match=r"was not made from .*/clean-.*; run stage tokenizer again"):
        run_verb("manifest", recipe, f"run.out={corpus_runs}")


def test_a_key_that_is_not_that_of_the_text_is_refused(corpus_runs: Path, manifest: dict[str, Any]) -> None:
    pack, tokenizer = folder_of(corpus_runs, "pack"), Tokenizer.open(folder_of(corpus_runs, "tokenizer"))
    check_keys(pack, sidecars_of(manifest), tokenizer)
    path = pack / f"{manifest['shards'][0]['name']}.keys"
    content = path.read_bytes()
    path.write_bytes(content[16:32] + content[:16] + content[32:])
    with pytest.raises(DataError, match=r"document 0 of shard .* does not have the key"):
        check_keys(pack, sidecars_of(manifest), tokenizer)


def test_a_damaged_manifest_is_refused(made_corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    shutil.copy(folder_of(made_corpus, "manifest") / "manifest.json", path)
    path.write_bytes(path.read_bytes().replace(b"CC0-1.0", b"CC0-2.0", 1))
    with pytest.raises(DataError, match="is damaged"):
        read_manifest(path)


def test_the_card_says_what_came_in_what_was_dropped_and_what_it_is_not(made_corpus: Path) -> None:
    card = (folder_of(made_corpus, "manifest") / "CARD.md").read_text()
    training = sum(1 for path in (folder_of(made_corpus, "clean") / "train").iterdir() for _ in read_documents(path))
    assert f"{training:,} documents" in card
    assert "| `contaminated_quiz` | 1 | shares words in a row with this evaluation set |" in card
    assert "| alpha | CC0-1.0 | The papers say so. | COPYING `" in card
    assert "Looked for: email; each find is one fixed placeholder. In the documents that stay: email 1." in card
    assert "| exact | 503 | 502 | 1 |" in card
    for heading in ("Languages", "Licences", "Personal data", "Limits"):
        assert f"\n## {heading}\n" in card
