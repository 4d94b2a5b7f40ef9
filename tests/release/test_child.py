"""A run that goes on from another run's state and takes over its mixture, closed into a bundle of its own."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from core.artifact import current
from core.errors import ConfigError, DataError
from core.hashing import canonical_json, hash_file
from release.checks import checkpoints, integrity, lineage
from release.contents import Bundle, open_bundle
from release.form import form
from release.lineage import copy_parent, read_lineage
from release.manifest import NAME, manifest_root
from release.reproduce import Place, prepare
from release.verdict import InconclusiveError
from tests.conftest import run_module
from tests.release.conftest import run_in
from tests.release.forgery import edit_json, flip_bit, reseal


def child_recipe(parent: Path, recipe: Path, out: Path) -> Path:
    """A recipe of steps 5 to 8: half of the parent's sources, gone on with, and half of a new one."""
    whole = yaml.safe_load(recipe.read_text())
    model, order = parent / "tokenizer/tokenizer.model", parent / "data/pack/order.json"
    state = json.loads((parent / "checkpoints/step-000004/state.json").read_bytes())
    whole["run"] = {"name": "child", "out": str(out)}
    whole["sources"]["items"] = [{**whole["sources"]["items"][1], "name": "gamma", "license": "CC-BY-4.0"}]
    whole["tokenizer"] |= {"model": str(model), "sha256": hash_file(model)}
    base = {"order": str(order), "sha256": hash_file(order), "share": 500, "consumed": 64, "unit": "samples"}
    whole["pack"] = {"seed": 2, "seq_len": 32, "base": base, "weights": {"gamma": 1}}
    start = {"checkpoint": str(parent / "checkpoints/step-000004"), "state_root": state["state_root"]}
    whole["train"] |= {"steps": 8, "start": start}
    whole["release"] |= {"license": "MIT", "parents": [{"bundle": str(parent), "root": manifest_root(parent)}]}
    whole["launch"]["ranks"] = 1
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(whole))
    return path


@pytest.fixture(scope="module")
def made(checkout: Path, released: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of the child, whose bundle has been verified by the launcher's last stage."""
    out = tmp_path_factory.mktemp("child") / "runs"
    done = run_in(checkout, "launch", "run", child_recipe(released, recipe, out), timeout_s=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture
def child(made: Path, tmp_path: Path) -> Bundle:
    """A copy of the child's bundle that a test may change."""
    artifact = current(made, "bundle")
    copy = open_bundle(shutil.copytree(artifact.folder / artifact.facts["bundle"], tmp_path / "child"))
    copy.scratch = tmp_path
    return copy


def test_every_check_of_a_childs_bundle_passes(made: Path) -> None:
    verdicts = {one["check"]: one for one in current(made, "verify").facts["verdicts"]}
    assert {one["verdict"] for one in verdicts.values()} == {"PASS"}, verdicts
    assert "goes on from step 4, whose tensors have the state root" in verdicts["lineage"]["detail"]
    assert verdicts["audit"]["detail"].startswith("steps 5 to 8 replayed on 1 process, every line equal")


def test_the_lineage_names_the_parent_by_its_root_with_its_heads_sources_and_licences(
    child: Bundle, released: Path
) -> None:
    said, theirs = child.read_json("lineage.json"), json.loads((released / "bundle.json").read_bytes())
    (parent,) = said["parents"]
    assert parent["root"] == manifest_root(released)
    assert parent["relations"] == ["continued", "data"]
    assert parent["full_head"] == theirs["full_head"]
    assert (parent["license"], parent["sources"]) == ("Apache-2.0", {"alpha": "CC0-1.0", "beta": "CC0-1.0"})
    named = child.ledger[0]["parent"]
    assert said["start"] == {**named, "license": "Apache-2.0", "is_shipped": True}
    assert [line["step"] for line in child.ledger[1:]] == [5, 6, 7, 8]


def test_what_comes_from_the_parent_keeps_its_licence(child: Bundle) -> None:
    for path, license_ in (
        ("data/pack/alpha-00000.bin", "CC0-1.0"),
        ("data/pack/gamma-00000.bin", "CC-BY-4.0"),
        ("parents/start/step-000004/model.safetensors", "Apache-2.0"),
        ("weights/final/model.safetensors", "MIT"),
    ):
        assert child.licenses[path] == license_
    page = (child.folder / "README.md").read_text()
    assert "alpha (CC0-1.0), beta (CC0-1.0)" in page
    assert "go on from step 4 of another run" in page


def test_a_licence_that_is_stated_otherwise_fails(child: Bundle) -> None:
    content = (child.folder / NAME).read_text()
    (child.folder / NAME).write_text(
        content.replace('"CC0-1.0","path":"data/pack/alpha', '"MIT","path":"data/pack/alpha')
    )
    with pytest.raises(DataError, match=r"data/pack/alpha-00000\.bin stands in the manifest as data under MIT; .* CC0"):
        form(child)


def test_a_lineage_that_leaves_the_parents_sources_out_fails(child: Bundle) -> None:
    said = child.read_json("lineage.json")
    said["parents"][0]["sources"] = {}
    (child.folder / "lineage.json").write_bytes(canonical_json(said))
    with pytest.raises(DataError, match=r"lineage\.json is not what the parents' files and the ledger say: parents"):
        lineage(child)


def test_a_parents_ledger_that_was_edited_fails_by_the_parents_own_manifest(child: Bundle) -> None:
    (path,) = child.folder.glob("parents/*/logs/ledger.jsonl")
    flip_bit(path)
    reseal(child.folder)
    assert integrity(child)
    with pytest.raises(DataError, match=r"ledger\.jsonl is missing or not what the parent's manifest says"):
        lineage(child)


def test_a_first_state_that_is_not_the_parents_fails(child: Bundle) -> None:
    flip_bit(child.start / "model.safetensors", at=-1)
    reseal(child.folder)
    with pytest.raises(DataError, match="the state root of the parent's tensors is "):
        lineage(child)


def test_without_the_parents_checkpoint_it_is_inconclusive_until_the_parent_is_given(
    child: Bundle, released: Path
) -> None:
    edit_json(child.folder / "bundle.json", is_start_shipped=False)
    start = child.read_json("lineage.json")["start"]
    edit_json(child.folder / "lineage.json", start={**start, "is_shipped": False})
    shutil.rmtree(child.folder / "parents/start")
    reseal(child.folder)
    with pytest.raises(InconclusiveError, match=r"is not in the bundle; give the parent's with --parent FOLDER"):
        lineage(child)
    with pytest.raises(ConfigError, match="give --parent"):
        prepare(child, Place(runs=child.scratch / "again", files=_files(child.scratch), ranks=1))
    child.parent = released
    assert "goes on from step 4" in lineage(child)
    child.parent = released / "checkpoints/step-000008"
    with pytest.raises(DataError, match="the state root of the parent's tensors is "):
        lineage(child)


def test_a_child_that_names_no_parent_is_refused_before_and_after_the_run(
    child: Bundle, made: Path, released: Path
) -> None:
    recipe = made.with_suffix(".yaml")
    refused = run_module("release", "check", recipe, "release.parents=[]")
    assert refused.returncode == 64
    assert "train.start takes something over from another run, and release.parents names no bundle" in refused.stderr
    whole = {"base_sha256": "", "start_license": "", "is_start_shipped": True}
    with pytest.raises(DataError, match="goes on from step 4 of a run with ledger head"):
        read_lineage(child.folder, roots=[], first=child.ledger[0], **whole)  # type: ignore[arg-type]
    (root,) = (parent["root"] for parent in child.record["parents"])
    with pytest.raises(DataError, match="nothing of this run comes from the bundle with root"):
        read_lineage(child.folder, roots=[root], first={}, **whole)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"release\.parents says 000"):
        copy_parent(released, child.scratch, root="0" * 64)


def test_checkpoints_are_held_against_the_ledger_by_their_step(child: Bundle) -> None:
    assert checkpoints(child).startswith("steps 8 stand in the ledger")
    edit_json(child.folder / "checkpoints/step-000008/state.json", step=7)
    with pytest.raises(DataError):
        checkpoints(child)


def _files(folder: Path) -> Path:
    (folder / "files/gamma").mkdir(parents=True)
    (folder / "files/gamma/beta.txt").touch()
    return folder / "files"


@pytest.mark.slow
def test_a_childs_bundle_is_redone_from_what_it_holds_of_its_parent(
    child: Bundle, recipe: Path, tmp_path: Path
) -> None:
    shutil.copy(recipe.parent / "corpus/beta.txt", _files(tmp_path) / "gamma/beta.txt")
    where = ["--runs", tmp_path / "again", "--files", tmp_path / "files", "--ranks", "2"]
    done = run_module("release", "reproduce", child.folder, *where, timeout_s=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"{child.root}\n")
