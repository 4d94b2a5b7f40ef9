"""A corpus is rebuilt by its manifest alone, and what is gone or different is named."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.errors import ConfigError, DataError, DeterministicError, RetryError
from core.hashing import canonical_json, hash_file, hash_value, sha256_hex
from data.corpus.manifest import read_manifest
from data.corpus.rebuild import open_manifest, other_surroundings
from data.documents import read_documents
from tests.conftest import run_module
from tests.data.corpora import STAGES, folder_of, run_verb, write_small_corpus
from tests.data.flaky import Site, serving
from tests.data.test_verify_corpus import failures, reseal

PARTS = ("sources", "documents", "tokenizer", "shards", "order", "corpus")
QUICK = ("sources.request_wait_s=0", "sources.retry_wait_s=0")


@pytest.fixture
def manifest(made_corpus: Path, tmp_path: Path) -> Path:
    """The manifest alone, as a stranger has it."""
    return Path(shutil.copy(folder_of(made_corpus, "manifest") / "manifest.json", tmp_path))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Path:
    """The manifest of a corpus of three sources on the web, which a server on this machine holds."""
    folder = tmp_path_factory.mktemp("remote")
    recipe = yaml.safe_load(write_small_corpus(folder).read_text())
    texts = (folder / "texts" / "alpha.jsonl").read_bytes().splitlines(keepends=True)
    items = []
    for number, name in enumerate(("one", "two", "three")):
        site.files[f"/{name}.jsonl"] = b"".join(texts[number * 90 : number * 90 + 90])
        url = {"url": f"{site.url}/{name}.jsonl", "sha256": sha256_hex(site.files[f"/{name}.jsonl"])}
        items.append({"name": name, "kind": "http", "urls": [url], "license": "CC0-1.0", "language": "en"})
    recipe["sources"]["items"] = items
    recipe["clean"]["decontamination"] = {}
    recipe["pack"]["weights"] = {"one": 1, "two": 1, "three": 1}
    path = folder / "remote.yaml"
    path.write_text(yaml.safe_dump(recipe))
    for stage in STAGES:
        run_verb(stage, path, *QUICK)
    return folder_of(folder / "runs", "manifest") / "manifest.json"


@pytest.fixture
def held(site: Site) -> Iterator[dict[str, bytes]]:
    """What the server holds; it is put back after a test that changes it."""
    before = dict(site.files)
    yield site.files
    site.files.clear()
    site.files.update(before)
    site.faults.clear()


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("note: ")]


def rebuild(*arguments: object) -> None:
    from data.corpus.rebuild import main

    main(list(map(str, arguments)))


def test_a_rebuild_has_every_root_and_the_same_manifest(made_corpus: Path, manifest: Path, tmp_path: Path) -> None:
    texts = made_corpus.parent / "texts"
    ended = run_module("data", "rebuild", manifest, "--out", tmp_path / "again", "--files", texts, "data.workers=2")
    assert ended.returncode == 0, ended.stderr
    roots = read_manifest(manifest)["roots"]
    assert ended.stdout.splitlines() == [f"same      {part} {roots[part]}" for part in PARTS]
    assert (folder_of(tmp_path / "again", "manifest") / "manifest.json").read_bytes() == manifest.read_bytes()


def test_other_settings_than_the_corpus_was_made_with_give_65_and_the_first_part_that_differs(
    made_corpus: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lie(said: dict[str, Any]) -> None:
        said["recipe"]["sections"]["clean"]["seed"] = 2

    reseal(manifest, lie)
    with pytest.raises(
        DeterministicError, match="differs in documents, tokenizer, shards, order, corpus, first in doc"
    ):
        rebuild(manifest, "--out", tmp_path / "again", "--files", made_corpus.parent / "texts")
    lines = lines_of(capsys)
    assert [line.split()[:2] for line in lines] == [
        ["same", "sources"],
        *(["DIFFERENT", part] for part in PARTS[1:]),
    ]
    assert ": first heldout/alpha.jsonl, " in lines[1] and " documents, " in lines[1]


def test_local_files_and_evaluation_sets_that_nobody_has_are_all_named(
    made_corpus: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made_corpus.parent / "texts", tmp_path / "texts")
    for name in ("alpha-more.jsonl", "quiz.jsonl"):
        (tmp_path / "texts" / name).unlink()
    with pytest.raises(DataError, match="2 of what it is made of is gone: alpha, evaluation set quiz"):
        rebuild(manifest, "--out", tmp_path / "again", "--files", tmp_path / "texts")
    lines = lines_of(capsys)
    (entry,) = [one for one in read_manifest(manifest)["sources"][0]["files"] if one["name"] == "alpha-more.jsonl"]
    assert lines[0] == f"gone: alpha: no file below --files is alpha-more.jsonl (SHA-256 {entry['sha256']})"
    assert lines[1].startswith("gone: evaluation set quiz: no file below --files has SHA-256 ")


def test_a_corpus_of_the_web_is_fetched_anew(remote: Path, site: Site, tmp_path: Path) -> None:
    site.asked.clear()
    rebuild(remote, "--out", tmp_path / "again", *QUICK)
    assert [site.asked[f"/{name}.jsonl"] for name in ("one", "two", "three")] == [1, 1, 1]


def test_the_sources_in_a_manifest_name_no_host_and_the_recipe_in_it_names_what_it_must(
    remote: Path, site: Site
) -> None:
    manifest = read_manifest(remote)
    assert manifest["sources"][0]["files"][0]["address_path"] == "/one.jsonl"
    assert site.url not in json.dumps(manifest["sources"])
    assert site.url in json.dumps(manifest["recipe"])


def test_every_source_that_is_gone_is_named_and_those_that_are_there_are_not(
    remote: Path, held: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del held["/one.jsonl"]
    held["/three.jsonl"] = held["/three.jsonl"].replace(b"the", b"The", 1)
    with pytest.raises(DataError, match="2 of what it is made of is gone: one, three"):
        rebuild(remote, "--out", tmp_path / "again", *QUICK)
    lines = lines_of(capsys)
    assert len(lines) == 2
    assert lines[0].startswith("gone: one: ") and "/one.jsonl is gone (HTTP status 404)" in lines[0]
    assert lines[1].startswith("gone: three: ") and "has SHA-256" in lines[1]


def test_a_source_that_is_out_of_reach_is_not_gone_and_the_same_command_goes_on(
    remote: Path, site: Site, held: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # once for all together, and once for the first of them by itself; then the server recovers
    site.faults += [503] * 2
    command = (remote, "--out", tmp_path / "again", *QUICK, "sources.attempts=1")
    with pytest.raises(RetryError, match="one could not be reached; the same command goes on"):
        rebuild(*command)
    assert "out of reach: " in capsys.readouterr().out
    rebuild(*command)
    assert [line.split()[0] for line in lines_of(capsys)] == ["same"] * len(PARTS)


def test_a_continued_run_is_rebuilt_with_the_tokenizer_and_the_shards_of_its_parent(
    made_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = read_manifest(folder_of(made_corpus, "manifest") / "manifest.json")
    tokenizer = folder_of(made_corpus, "tokenizer") / "tokenizer.model"
    order = folder_of(made_corpus, "pack") / "order.json"
    recipe = yaml.safe_load((made_corpus.parent / "small.yaml").read_text())
    recipe["run"] = {"name": "child", "out": str(tmp_path / "runs")}
    recipe["sources"]["items"] = [{**recipe["sources"]["items"][1], "name": "gamma"}]
    recipe["clean"]["decontamination"] = {}
    recipe["tokenizer"] |= {"model": str(tokenizer), "sha256": parent["tokenizer"]["sha256"]}
    base = {"order": str(order), "sha256": parent["order"]["sha256"], "share": 500, "consumed": 32, "unit": "samples"}
    phases = [
        {"name": "start", "weights": {"gamma": 1}},
        {"name": "end", "start": 40, "unit": "permille", "weights": {"gamma": 3}},
    ]
    recipe["pack"] = {"seed": 2, "seq_len": 32, "base": base, "phases": phases}
    recipe["train"] = {"steps": 25, "micro_batches": 4, "micro_batch": 1}
    path = tmp_path / "child.yaml"
    path.write_text(yaml.safe_dump(recipe))
    for stage in STAGES:
        run_verb(stage, path)
    assert failures(tmp_path / "runs") == []
    manifest = folder_of(tmp_path / "runs", "manifest") / "manifest.json"
    assert {shard["source"] for shard in read_manifest(manifest)["shards"]} == {"alpha", "beta", "gamma"}
    with pytest.raises(DataError, match=r"the tokenizer that was taken over, the order\.json of the parent"):
        rebuild(manifest, "--out", tmp_path / "again", "--files", made_corpus.parent / "texts")
    capsys.readouterr()
    rebuild(manifest, "--out", tmp_path / "again", "--files", made_corpus.parent)
    assert [line.split()[0] for line in lines_of(capsys)] == ["same"] * len(PARTS)


def test_other_code_and_packages_are_said_and_are_no_failure(manifest: Path) -> None:
    said = read_manifest(manifest)
    assert list(other_surroundings(said)) == []
    said["code"] = {"sha256": "0" * 64, "files": {**said["code"]["files"], "data/clean.py": "0" * 64}}
    said["environment"]["packages"]["resiliparse"] = "1.0"
    said["environment"]["unicode"] = "13.0.0"
    notes = list(other_surroundings(said))
    assert notes[0] == "this is other code than the manifest's, in 1 files, data/clean.py among them"
    assert any(note.startswith("unicode is ") for note in notes)
    assert any(note.startswith("package resiliparse is ") and note.endswith("1.0 in the manifest") for note in notes)


def test_the_manifest_is_found_in_a_runs_folder_and_by_what_points_to_it(made_corpus: Path) -> None:
    wanted = read_manifest(folder_of(made_corpus, "manifest") / "manifest.json")
    for path in (made_corpus, made_corpus / "manifest.json", folder_of(made_corpus, "manifest")):
        assert open_manifest(path) == wanted


def test_arguments_that_are_no_overrides_are_refused(manifest: Path) -> None:
    with pytest.raises(ConfigError, match="'fast' is not of the form key=value"):
        rebuild(manifest, "fast")
    path = manifest.with_name("other.json")
    path.write_bytes(canonical_json({"format": "x", "seal": hash_value(json.loads("{}"))}))
    with pytest.raises(DataError, match="is not a wholegrain-manifest-1"):
        rebuild(path)


def test_a_document_that_is_taken_down_stands_in_the_manifest_and_is_left_out_again_by_a_rebuild(
    made_corpus: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "listed.jsonl"
    (path,) = (folder_of(made_corpus, "clean") / "train").glob("beta-*.jsonl")
    key = next(read_documents(path)).key
    rows = [{"key": one, "reason": "asked", "date": "2026-11-22"} for one in (key, "0" * 32)]
    listed.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    taken = (f"clean.taken_down.path={listed}", f"clean.taken_down.sha256={hash_file(listed)}")
    for stage in STAGES:
        run_verb(stage, made_corpus.parent / "small.yaml", f"run.out={tmp_path / 'runs'}", *taken)
    said = read_manifest(folder_of(tmp_path / "runs", "manifest") / "manifest.json")
    assert said["tombstones"]["documents"] == [{**rows[0], "source": "beta"}, {**rows[1], "source": ""}]
    assert said["stages"][1]["dropped"]["taken_down"] == 1
    listed.unlink()
    manifest = folder_of(tmp_path / "runs", "manifest") / "manifest.json"
    rebuild(manifest, "--out", tmp_path / "again", "--files", made_corpus.parent / "texts")
    assert key in (folder_of(tmp_path / "again", "clean") / "dropped.jsonl").read_text()
    listed.write_text("")
    with pytest.raises(DataError, match=r"is not what .* was made with"):
        run_verb("manifest", made_corpus.parent / "small.yaml", f"run.out={tmp_path / 'runs'}", *taken)
