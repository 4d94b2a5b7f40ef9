"""Other people's releases: a folder of weights says little, and what it names it does not hold."""

import json
import shutil
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from release.openness.components import Status
from release.openness.folder import folder_facts
from release.openness.report import compose, to_markdown
from tests.conftest import run_module

CARD = "---\nlicense: {licence}\ndatasets: [a/b]\nbase_model: c/d\nlanguage: en\n---\n# Card\n" + "word " * 120


@pytest.fixture
def folder(released: Path, tmp_path: Path) -> Path:
    """A Hugging Face folder of somebody else, with a card."""
    copy = Path(shutil.copytree(released / "weights/final", tmp_path / "theirs"))
    (copy / "README.md").write_text(CARD.format(licence="apache-2.0"))
    return copy


def test_an_open_licence_on_weights_makes_open_weights_and_nothing_more(folder: Path) -> None:
    report = compose(folder_facts(folder))
    assert report["place"]["name"] == "open weights"
    assert (report["mof"]["class"], report["osaid"]["verdict"]) == (0, "fails")
    assert "open source" not in to_markdown(report).lower()


@pytest.mark.parametrize(("licence", "letters"), [("llama3.1", "M"), ("openrail", "M"), ("cc-by-nc-4.0", "none")])
def test_restricted_weights_are_open_access(folder: Path, licence: str, letters: str) -> None:
    (folder / "README.md").write_text(CARD.format(licence=licence))
    report = compose(folder_facts(folder))
    assert report["place"]["name"] == "open access"
    assert report["restricted_in_use"] == letters


def test_what_a_card_only_names_is_missing(folder: Path) -> None:
    found = folder_facts(folder).found
    assert (found["datasets"].status, found["datasets"].note) == (
        Status.MISSING,
        "a/b: named in the card, not inside and not tied by a hash",
    )
    assert found["architecture"].note == "named (LlamaForCausalLM), not inside and no version pinned"
    assert found["model_card"].proof == "declared"


def test_an_unnamed_licence_of_a_parent_is_a_conflict_to_look_at(folder: Path) -> None:
    report = compose(folder_facts(folder))
    assert report["conflicts"] == [
        "unstated: asked by parent c/d (NOASSERTION), source a/b (no licence), not carried on by apache-2.0"
    ]


def test_weights_that_are_cut_short_or_of_another_shape_are_broken(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    assert "mlp.down_proj.weight has shape" in folder_facts(folder).found["final"].note
    (folder / "config.json").write_text(json.dumps(config))
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-10])
    found = folder_facts(folder).found["final"]
    assert found.status is Status.BROKEN and "is cut short" in found.note
    assert compose(folder_facts(folder))["place"]["name"] == "closed"


def test_pickles_are_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    found = folder_facts(folder).found["final"]
    assert found.status is Status.PRESENT and "not opened" in found.note


def test_a_short_card_is_no_card_and_a_missing_shard_breaks_the_weights(folder: Path) -> None:
    (folder / "README.md").write_text("# Hello")
    assert folder_facts(folder).found["model_card"].status is Status.MISSING
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}')
    assert "is named by model.safetensors.index.json and not there" in folder_facts(folder).found["final"].note


def test_a_card_that_would_fill_the_memory_is_read_as_what_it_says_in_text(folder: Path) -> None:
    rows = ["a0: &a0 [x, x]"] + [f"a{level}: &a{level} [*a{level - 1}, *a{level - 1}]" for level in range(1, 60)]
    head = "\n".join([*rows, "license: *a59", "datasets: *a59"])
    (folder / "README.md").write_text(f"---\n{head}\n---\n" + "word " * 120)
    facts = folder_facts(folder)
    assert facts.licence == "" and facts.sources == []
    (folder / "README.md").write_text("---\nlicense: " + "[" * 5000 + "\n---\n")
    with pytest.raises(DataError, match="is no YAML"):
        folder_facts(folder)


def test_the_verb_takes_a_folder_or_a_bundle_and_refuses_the_rest(folder: Path, released: Path, tmp_path: Path) -> None:
    done = run_module("release", "openness", folder)
    assert done.returncode == 0, done.stderr
    assert "**open weights; MOF unclassified; OSAID fails.**" in done.stdout
    done = run_module("release", "openness", released, "--json")
    assert json.loads(done.stdout) == json.loads((released / "report/openness.json").read_bytes())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no bundle"):
        folder_facts(tmp_path / "empty")
    assert run_module("release", "openness", tmp_path / "none").returncode == 64
