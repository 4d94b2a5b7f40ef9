"""A model that is merged of another bundle's weights and quantized, closed into a bundle of its own; and forgeries."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from core.artifact import current
from core.errors import DataError
from core.hashing import hash_file
from release.checks import code, weights
from release.contents import Bundle, open_bundle
from release.derived import derived
from release.form import form
from release.ladder import say_stages
from release.manifest import NAME, manifest_root
from release.signing.statements import provenance_statement
from release.verdict import InconclusiveError, Verdict
from release.verify import CHECKS, OF_TRAINING, is_due
from tests.conftest import run_module
from tests.release.conftest import run_in
from tests.release.forgeries import Forgery
from tests.release.merged_forgeries import MERGED, QUICK
from tests.release.test_deep_tampering import judged
from tests.release.test_tampering import failed

MADE = (
    ("data", "manifest"),
    ("posttrain", "merge"),
    ("posttrain", "quantize"),
    ("evaluation", "score"),
    ("inference", "export"),
)
DATA = ("fetch", "clean", "tokenizer", "pack")


def merge_recipe(parent: Path, recipe: Path, out: Path) -> Path:
    """A recipe without a training: steps 8 and 12 of another run, merged and quantized to 8 bits."""
    whole = yaml.safe_load(recipe.read_text())
    del whole["train"]
    taken = [parent / f"checkpoints/step-{step:06d}" for step in (8, 12)]
    models = [{"weights_sha256": hash_file(one / "model.safetensors"), "folder": str(one)} for one in taken]
    whole["run"] = {"name": "soup", "out": str(out)}
    whole["merge"] = {"method": "slerp", "position": 0.25, "models": models}
    whole["quantize"] = {"bits": 8}
    whole["release"]["parents"] = [{"bundle": str(parent), "root": manifest_root(parent)}]
    path = out.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(whole))
    return path


@pytest.fixture(scope="module")
def soup(checkout: Path, released: Path, runs: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of the merged model; its data, but for the manifest, are those of the run that it comes from."""
    out = tmp_path_factory.mktemp("soup") / "runs"
    out.mkdir()
    for stage in DATA:
        shutil.copy(runs / f"{stage}.json", out)
        shutil.copytree(current(runs, stage).folder, out / current(runs, stage).folder.name)
    path = merge_recipe(released, recipe, out)
    for folder, verb in (*MADE, ("release", "build")):
        done = run_in(checkout, folder, verb, path)
        assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def merged(soup: Path, tmp_path: Path) -> Bundle:
    """A copy of its bundle that a test may change."""
    artifact = current(soup, "bundle")
    copy = open_bundle(shutil.copytree(artifact.folder / artifact.facts["bundle"], tmp_path / "soup"))
    copy.scratch = tmp_path
    return copy


def test_a_bundle_without_a_training_passes_every_check_that_is_due(merged: Bundle, tmp_path: Path) -> None:
    due = [check for check in CHECKS if is_due(check, merged)]
    assert not {check.run for check in due} & set(OF_TRAINING)
    assert {"derived", "weights", "lineage", "chain", "form", "forward", "scores"} <= {check.name for check in due}
    assert code(merged)
    for name in ("form", "chain", "derived", "weights", "lineage", "report"):
        verdict, detail = judged(merged.folder, tmp_path, name)
        assert verdict is Verdict.PASS, (name, detail)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alive", "forward", "scores", "corpus"])
def test_what_runs_the_model_passes_too(merged: Bundle, tmp_path: Path, name: str) -> None:
    verdict, detail = judged(merged.folder, tmp_path, name)
    assert verdict is Verdict.PASS, (name, detail)


def test_a_run_with_a_training_has_all_checks_and_none_of_what_it_did_not_merge(bundle: Bundle) -> None:
    assert {check.name for check in CHECKS if not is_due(check, bundle)} == {"signature", "derived"}


def test_the_ladder_says_what_its_levels_mean_for_what_was_not_trained() -> None:
    said = say_stages(["merge", "quantize", "export"]).splitlines()
    assert [line.partition(" ")[0] for line in said] == ["merged", "quantized", "nothing"]
    assert len(say_stages(["train", "quantize"]).splitlines()) == 1 and say_stages(["train"]) == ""


def test_the_lineage_names_what_was_merged_whose_it_is_and_what_came_of_it(merged: Bundle, released: Path) -> None:
    said = merged.read_json("lineage.json")
    (parent,) = said["parents"]
    assert said["kinds"] == ["merge", "quantized"] and said["start"] is None
    assert parent["relations"] == ["merge"] and parent["root"] == manifest_root(released)
    taken = [hash_file(released / f"checkpoints/step-{step:06d}/model.safetensors") for step in (8, 12)]
    assert [one["weights_sha256"] for one in said["merged"]] == taken
    assert {(one["license"], one["root"]) for one in said["merged"]} == {("Apache-2.0", parent["root"])}
    assert merged.licenses[f"parents/weights/{taken[0][:12]}/model.safetensors"] == "Apache-2.0"
    provenance = json.loads(provenance_statement(merged, "merge"))
    named = provenance["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {one["digest"].get("sha256") for one in named} >= set(taken)


def test_without_the_parents_weights_it_is_inconclusive_until_they_are_given(merged: Bundle, released: Path) -> None:
    shutil.rmtree(merged.folder / "parents/weights")
    merged.is_whole, merged.code = True, Path(__file__).parents[2]
    with pytest.raises(InconclusiveError, match="give a folder that holds them with --parent"):
        derived(merged)
    with pytest.raises(InconclusiveError):
        weights(merged)
    merged.parent = released
    assert "by slerp of 2 models; quantize" in derived(merged)


@pytest.mark.parametrize(
    "forgery",
    [pytest.param(one, id=one.name, marks=() if one.name in QUICK else pytest.mark.slow) for one in MERGED],
)
def test_a_forgery_of_it_is_caught(merged: Bundle, tmp_path: Path, forgery: Forgery) -> None:
    forgery.do(merged.folder)
    caught = forgery.caught_by.split()
    assert failed(merged.folder, tmp_path, {"form", "report", "chain", "lineage"}) <= set(caught)
    for name in caught:
        verdict, detail = judged(merged.folder, tmp_path, name)
        assert verdict is Verdict.FAIL, (name, detail)


def test_stages_that_do_not_follow_from_code_and_recipe_fail(merged: Bundle) -> None:
    stages = merged.folder / "config/stages.yaml"
    stages.write_text(stages.read_text().replace("  folder: posttrain\n", "  folder: train\n", 1))
    with pytest.raises(DataError, match=r"config/stages\.yaml"):
        code(merged)


def test_a_merge_whose_weights_have_no_licence_is_refused_before_the_run(soup: Path) -> None:
    refused = run_module("release", "check", soup.with_suffix(".yaml"), "release.parents=[]")
    assert refused.returncode == 64
    assert "of others, and release.parents names no bundle" in refused.stderr


def test_a_licence_in_the_manifest_that_is_not_the_parents_fails(merged: Bundle) -> None:
    content = (merged.folder / NAME).read_text()
    lines = [line.replace("Apache-2.0", "MIT") if "parents/weights" in line else line for line in content.split("\n")]
    (merged.folder / NAME).write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"parents/weights/.* stands in the manifest as lineage under MIT"):
        form(merged)


@pytest.mark.slow
def test_a_run_that_trains_merges_its_steps_and_quantizes_passes_every_check(
    checkout: Path, recipe: Path, tmp_path: Path
) -> None:
    whole = yaml.safe_load(recipe.read_text())
    whole["run"]["out"] = str(tmp_path / "runs")
    whole["merge"] = {"method": "ties", "base": [{"step": 4}], "models": [{"step": 8}, {"step": 12}]}
    whole["quantize"] = {"bits": 4, "group": 16}
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(whole))
    done = run_in(checkout, "launch", "run", tmp_path / "all.yaml", timeout_s=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = {one["check"]: one["verdict"] for one in current(tmp_path / "runs", "verify").facts["verdicts"]}
    assert set(verdicts.values()) == {"PASS"} and {"derived", "audit", "weights"} <= verdicts.keys()


@pytest.mark.slow
def test_a_run_that_begins_with_merged_weights_names_them_by_their_hash(
    checkout: Path, recipe: Path, merged: Bundle, tmp_path: Path
) -> None:
    whole = yaml.safe_load(recipe.read_text())
    taken = hash_file(merged.folder / "weights/final/model.safetensors")
    start = {"takes": "weights", "checkpoint": str(merged.folder), "weights_sha256": taken}
    whole["run"] = {"name": "child", "out": str(tmp_path / "runs")}
    whole["train"] |= {"steps": 4, "start": start}
    whole["release"]["parents"] = [{"bundle": str(merged.folder), "root": merged.root}]
    (tmp_path / "child.yaml").write_text(yaml.safe_dump(whole))
    done = run_in(checkout, "launch", "run", tmp_path / "child.yaml", timeout_s=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = {one["check"]: one for one in current(tmp_path / "runs", "verify").facts["verdicts"]}
    assert {one["verdict"] for one in verdicts.values()} == {"PASS"}
    assert f"begins with weights of SHA-256 {taken}" in verdicts["lineage"]["detail"]


@pytest.mark.slow
def test_a_merged_bundle_is_redone_from_what_it_holds(merged: Bundle, recipe: Path, tmp_path: Path) -> None:
    for name in ("alpha/alpha.jsonl", "beta/beta.txt"):
        (tmp_path / "files" / name).parent.mkdir(parents=True)
        shutil.copy(recipe.parent / "corpus" / Path(name).name, tmp_path / "files" / name)
    where = ["--runs", tmp_path / "again", "--files", tmp_path / "files"]
    done = run_module("release", "reproduce", merged.folder, *where, timeout_s=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"{merged.root}\n")
