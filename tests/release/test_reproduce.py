import json
import shutil
from pathlib import Path

import pytest
import yaml

from core.artifact import current
from core.errors import ConfigError
from core.hashing import hash_file
from core.journal import read_journal
from release.contents import Bundle, open_bundle
from release.openness.facts import WORDS_PATH
from release.reproduce import Place, compare, prepare
from release.verdict import Verdict
from tests.conftest import run_module
from tests.release.forgery import edit_ledger, flip_bit, reseal
from tests.release.openness.made import TEXT

PROFILE = "builds.torch: 2.13.0 against 9.9"


def verdicts(bundle: Bundle, redone: Bundle, *, profile: str = "") -> dict[str, Verdict]:
    return {finding.check: finding.verdict for finding in compare(bundle, redone, profile=profile)}


@pytest.fixture
def files(recipe: Path, tmp_path: Path) -> Path:
    """The texts of the recipe's sources, as `--files` wants them: one folder a source."""
    for source, name in (("alpha", "alpha.jsonl"), ("beta", "beta.txt")):
        (tmp_path / "files" / source).mkdir(parents=True)
        shutil.copy(recipe.parent / "corpus" / name, tmp_path / "files" / source)
    return tmp_path / "files"


@pytest.fixture
def redone(released: Path, tmp_path: Path) -> Bundle:
    """What a reproduction made, which a test may change."""
    return open_bundle(Path(shutil.copytree(released, tmp_path / "redone")))


def test_an_interrupted_runs_bundle_redone_by_its_own_code_on_other_ranks_has_the_same_root(
    bundle: Bundle, runs: Path, files: Path, tmp_path: Path
) -> None:
    events = read_journal(bundle.witness / "train/journal-rank1.jsonl")
    assert {event["generation"] for event in events} == {1, 2}
    # Scores and export are functions of the training's digest; taking them as found halves the time of this test.
    (tmp_path / "again/run").mkdir(parents=True)
    for stage in ("evaluate", "export"):
        folder = current(runs, stage).folder
        shutil.copytree(folder, tmp_path / "again/run" / folder.name)
    where = ["--runs", tmp_path / "again", "--files", files, "--ranks", "1"]
    done = run_module("release", "reproduce", bundle.folder, *where)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split()[:2] for line in done.stdout.splitlines()]
    assert lines == [[name, "PASS"] for name in ("integrity", "profile", "ledger", "weights", "evaluation", "root")]
    assert done.stdout.endswith(f"{bundle.root}\n")
    again = current(tmp_path / "again/run", "train").folder / "witness"
    assert len(list(again.glob("journal-rank*.jsonl"))) == 1


def test_sources_that_are_files_and_not_there_are_named_before_anything_starts(bundle: Bundle, tmp_path: Path) -> None:
    done = run_module("release", "reproduce", bundle.folder, "--runs", tmp_path / "again", "--files", tmp_path)
    assert done.returncode == 64
    assert f"source alpha is files, which a bundle does not hold; put them at {tmp_path}/alpha/alpha" in done.stderr
    assert not (tmp_path / "again").exists()


def test_a_damaged_bundle_is_not_redone(bundle: Bundle, files: Path, tmp_path: Path) -> None:
    flip_bit(bundle.folder / "config/recipe.yaml")
    done = run_module("release", "reproduce", bundle.folder, "--runs", tmp_path / "again", "--files", files)
    assert done.returncode == 66
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["integrity", "FAIL"]]
    assert not (tmp_path / "again").exists()


def test_a_bundle_is_not_redone_inside_itself(bundle: Bundle) -> None:
    done = run_module("release", "reproduce", bundle.folder, "--runs", bundle.folder / "again")
    assert done.returncode == 64
    assert "lies in the bundle" in done.stderr


def test_the_recipe_that_redoes_it_says_where_and_leaves_out_the_drill(bundle: Bundle, files: Path) -> None:
    stated = dict(bundle.recipe)
    path = prepare(bundle, Place(runs=files.parent / "again", files=files, ranks=3))
    assert f"path: {files}/alpha/alpha.jsonl" in path.read_text()
    assert "kill_at_step: 0" in path.read_text()
    assert bundle.recipe == stated


def test_a_list_that_the_manifest_holds_and_sets_found_by_their_hash_are_placed(bundle: Bundle, files: Path) -> None:
    place = Place(runs=files.parent / "again", files=files, ranks=3)
    questions = files / "beta" / "questions.jsonl"
    questions.write_text('{"text": "what is it?"}\n')
    clean = bundle.recipe["clean"]
    clean["decontamination"] = {"benchmarks": [{"name": "questions", "sha256": hash_file(questions)}]}
    clean["taken_down"] = {"sha256": "0" * 64}
    manifest = bundle.folder / "data" / "manifest.json"
    told = json.loads(manifest.read_bytes())
    told["tombstones"]["list"] = '{"key": "a"}\n'
    manifest.write_text(json.dumps(told))
    placed = yaml.safe_load(prepare(bundle, place).read_text())["clean"]
    assert placed["decontamination"]["benchmarks"][0]["path"] == str(questions)
    assert Path(placed["taken_down"]["path"]).read_text() == '{"key": "a"}\n'
    questions.unlink()
    with pytest.raises(ConfigError, match=r"evaluation set questions is a file .* put the one with SHA-256"):
        prepare(bundle, place)


def test_the_authors_words_of_the_bundle_are_those_of_the_redone_one(bundle: Bundle, files: Path) -> None:
    place = Place(runs=files.parent / "again", files=files, ranks=3)
    assert "words" not in yaml.safe_load(prepare(bundle, place).read_text())["release"]
    (bundle.folder / WORDS_PATH).write_text(TEXT)
    words = yaml.safe_load(prepare(bundle, place).read_text())["release"]["words"]
    assert Path(words).read_text() == TEXT


def test_equal_results_pass_under_any_profile(bundle: Bundle, redone: Bundle) -> None:
    assert set(verdicts(bundle, redone).values()) == {Verdict.PASS}
    assert set(verdicts(bundle, redone, profile=PROFILE).values()) == {Verdict.PASS}


def test_other_numbers_fail_under_one_profile_and_are_inconclusive_under_two(bundle: Bundle, redone: Bundle) -> None:
    edit_ledger(redone.folder, step=7, loss="0x1.8p+1")
    flip_bit(redone.folder / "checkpoints/step-000008/model.safetensors", at=-1)
    reseal(redone.folder)
    found = {finding.check: finding for finding in compare(bundle, redone, profile="")}
    assert {name for name, finding in found.items() if finding.verdict is Verdict.FAIL} == {"ledger", "weights", "root"}
    assert "step 7, field loss: 0x1." in found["ledger"].detail
    assert found["ledger"].detail.endswith("against 0x1.8p+1 (3)")
    assert found["weights"].detail.startswith("step-000008/model.safetensors: tensor ")
    assert found["root"].detail.startswith("first differing file: checkpoints/step-000008/model.safetensors")
    elsewhere = verdicts(bundle, redone, profile=PROFILE)
    assert {name for name, verdict in elsewhere.items() if verdict is Verdict.INCONCLUSIVE} == {
        *("ledger", "weights", "root")
    }


def test_other_scores_fail_by_their_file(bundle: Bundle, redone: Bundle) -> None:
    flip_bit(redone.folder / "eval/results.json")
    reseal(redone.folder)
    assert verdicts(bundle, redone)["evaluation"] is Verdict.FAIL


def test_an_export_that_differs_fails_by_its_tensor(bundle: Bundle, redone: Bundle) -> None:
    flip_bit(redone.folder / "weights/final/model.safetensors", at=-1)
    found = {finding.check: finding for finding in compare(bundle, redone, profile="")}
    assert found["weights"].detail.startswith("weights/final/model.safetensors: tensor ")
