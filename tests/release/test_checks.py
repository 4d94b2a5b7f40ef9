"""Every lie is caught by the check that is there for it; what a check cannot catch is shown too."""

import json
import shutil
from pathlib import Path

import pytest

from core.hashing import canonical_json
from release.audit import Segment, draw
from release.contents import Bundle
from release.manifest import read_manifest
from release.verdict import Finding, Verdict
from release.verify import CHECKS, judge
from tests.release.forgery import LEDGER, edit_json, edit_ledger, flip_bit, make_consistent, reseal

ALL = {check.name: check for check in CHECKS}
# The checks that start no process of a stage.
QUICK = ("integrity", "code", "chain", "ledger", "checkpoints", "weights", "lineage")
# One file of every role that a bundle has.
ROLES = {
    "document": "README.md",
    "license": "LICENSES/Apache-2.0.txt",
    "record": "artifacts/train.json",
    "code": "code/repo.bundle",
    "configuration": "config/recipe.yaml",
    "data": "data/pack/alpha-00000.bin",
    "tokenizer": "tokenizer/tokenizer.model",
    "weights": "weights/final/model.safetensors",
    "checkpoint": "checkpoints/step-000004/optimizer.safetensors",
    "log": LEDGER,
    "environment": "env/requirements.lock",
    "evaluation": "eval/results.json",
    "lineage": "lineage.json",
}
LAST = "checkpoints/step-000012"


def findings(bundle: Bundle, names: tuple[str, ...] = QUICK) -> dict[str, Finding]:
    return {name: judge(ALL[name], bundle) for name in names}


def failed(bundle: Bundle, names: tuple[str, ...] = QUICK) -> set[str]:
    return {name for name, finding in findings(bundle, names).items() if finding.verdict is Verdict.FAIL}


def test_an_honest_bundle_passes_every_check(bundle: Bundle) -> None:
    assert failed(bundle) == set()


def test_there_is_a_case_for_every_role(bundle: Bundle) -> None:
    assert {entry.role for entry in read_manifest(bundle.folder)} == ROLES.keys()


@pytest.mark.parametrize("path", ROLES.values())
def test_one_flipped_bit_fails_integrity_and_is_named(bundle: Bundle, path: str) -> None:
    flip_bit(bundle.folder / path)
    finding = judge(ALL["integrity"], bundle)
    assert (finding.verdict, finding.detail) == (Verdict.FAIL, f"{path} is not what the manifest says")


def test_added_and_removed_files_fail_integrity(bundle: Bundle) -> None:
    (bundle.folder / "weights/final/adapter.safetensors").write_bytes(b"")
    assert "is not in the manifest" in judge(ALL["integrity"], bundle).detail
    (bundle.folder / "weights/final/adapter.safetensors").unlink()
    (bundle.folder / "eval/samples.jsonl").unlink()
    assert judge(ALL["integrity"], bundle).detail == "eval/samples.jsonl is missing"


def test_a_changed_witness_fails_integrity_by_its_own_manifest(bundle: Bundle) -> None:
    flip_bit(bundle.witness / "hardware.json")
    assert judge(ALL["integrity"], bundle).detail == "hardware.json is not what the manifest says"


def test_an_expected_root_is_held_against_a_resealed_bundle(bundle: Bundle) -> None:
    bundle.expected_root = bundle.root
    flip_bit(bundle.folder / "README.md")
    reseal(bundle.folder)
    assert judge(ALL["integrity"], bundle).verdict is Verdict.FAIL
    bundle.expected_root = ""
    assert judge(ALL["integrity"], bundle).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("path", "caught_by"),
    [
        ("code/repo.bundle", {"code"}),
        ("data/pack/alpha-00000.bin", {"chain"}),
        ("eval/results.json", {"chain"}),
        ("tokenizer/tokenizer.model", {"chain"}),
        ("weights/final/model.safetensors", {"chain", "weights"}),
        (f"{LAST}/optimizer.safetensors", {"chain", "checkpoints"}),
        (f"{LAST}/model.safetensors", {"chain", "checkpoints", "weights"}),
        ("data/pack/order.json", {"chain", "ledger"}),
        ("env/profile.json", {"ledger"}),
    ],
)
def test_one_flipped_bit_under_a_new_manifest_is_caught_by_what_the_file_must_fit(
    bundle: Bundle, path: str, caught_by: set[str]
) -> None:
    flip_bit(bundle.folder / path)
    reseal(bundle.folder)
    assert failed(bundle) == caught_by


def test_an_edited_ledger_breaks_its_chain(bundle: Bundle) -> None:
    edit_ledger(bundle.folder, step=6, is_chained=False, lr="0x1.0p-7")
    reseal(bundle.folder)
    assert "line 8 does not follow" in judge(ALL["ledger"], bundle).detail


def test_a_ledger_that_was_chained_anew_has_other_heads(bundle: Bundle) -> None:
    edit_ledger(bundle.folder, step=6, lr="0x1.0p-7")
    reseal(bundle.folder)
    found = findings(bundle)
    assert found["ledger"].detail.startswith("trajectory_head in bundle.json is ")
    assert "ledger head" in found["checkpoints"].detail
    assert found["chain"].verdict is Verdict.FAIL


def test_a_shortened_ledger_is_caught(bundle: Bundle) -> None:
    lines = (bundle.folder / LEDGER).read_bytes().splitlines(keepends=True)
    (bundle.folder / LEDGER).write_bytes(b"".join(lines[:-1]))
    reseal(bundle.folder)
    assert failed(bundle) >= {"chain", "ledger", "checkpoints"}


def test_swapped_checkpoints_are_caught_by_their_steps(bundle: Bundle) -> None:
    first, second = bundle.checkpoints[4], bundle.checkpoints[8]
    first.rename(first.with_name("aside"))
    second.rename(first)
    first.with_name("aside").rename(second)
    reseal(bundle.folder)
    assert judge(ALL["checkpoints"], bundle).detail.startswith("the step in checkpoints/step-000004/manifest.json is 8")


def test_a_checkpoint_whose_every_hash_was_made_to_fit_does_not_give_the_ledgers_state_root(bundle: Bundle) -> None:
    flip_bit(bundle.folder / "checkpoints/step-000008/optimizer.safetensors")
    make_consistent(bundle.folder)
    found = findings(bundle)
    assert found["checkpoints"].detail.startswith("the state root of the tensors in checkpoints/step-000008 is ")
    assert failed(bundle) == {"checkpoints"}


def test_published_weights_of_another_step_are_not_those_of_the_last_checkpoint(bundle: Bundle) -> None:
    shutil.copy(bundle.folder / "checkpoints/step-000008/model.safetensors", bundle.folder / "weights/final")
    make_consistent(bundle.folder)
    assert "tensors of weights/final/model.safetensors are not" in judge(ALL["weights"], bundle).detail


def test_a_recipe_that_was_edited_is_not_what_the_stages_ran_with(bundle: Bundle) -> None:
    path = bundle.recipe_path
    path.write_text(path.read_text().replace("lr: 0.01\n", "lr: 0.02\n"))
    reseal(bundle.folder)
    assert failed(bundle) == {"chain"}
    assert "train.lr: 0.02 against 0.01" in judge(ALL["chain"], bundle).detail


def test_an_artifact_with_another_input_breaks_the_chain(bundle: Bundle) -> None:
    edit_json(bundle.folder / "artifacts/clean.json", inputs={"fetch": "0" * 64})
    reseal(bundle.folder)
    assert judge(ALL["chain"], bundle).detail.startswith("the inputs of stage clean")


def test_malformed_parts_are_a_fail_and_never_a_traceback(bundle: Bundle) -> None:
    for path in ("bundle.json", "artifacts/train.json", f"{LAST}/manifest.json", "code/tree.json"):
        (bundle.folder / path).write_text("[]")
    (bundle.folder / "config/stages.yaml").write_text("nothing")
    (bundle.folder / LEDGER).write_bytes(b"\xff\n")
    assert failed(bundle) == set(QUICK)


def test_a_link_is_never_followed(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.folder / "README.md").rename(tmp_path / "elsewhere")
    (bundle.folder / "README.md").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in judge(ALL["integrity"], bundle).detail


def test_a_lie_about_the_token_ids_is_caught_by_computing_the_data_order_again(bundle: Bundle) -> None:
    edit_ledger(bundle.folder, step=6, batch="0" * 64)
    make_consistent(bundle.folder)
    found = findings(bundle, ("integrity", "code", "chain", "ledger", "data"))
    assert [name for name, finding in found.items() if finding.verdict is Verdict.FAIL] == ["data"]
    assert found["data"].detail.startswith(f"the batch digest of step 6 is {'0' * 64}")


def test_a_corpus_that_is_told_otherwise_than_by_its_manifest_is_caught(bundle: Bundle) -> None:
    edit_json(bundle.folder / "data/report.json", unicode="1.0.0")
    reseal(bundle.folder)
    found = findings(bundle, ("integrity", "code", "corpus"))
    assert [name for name, finding in found.items() if finding.verdict is Verdict.FAIL] == ["corpus"]
    assert found["corpus"].detail == "conservation: data/report.json is not what the manifest says"


def test_a_manifest_of_other_artifacts_than_the_bundles_is_caught(bundle: Bundle) -> None:
    path = bundle.folder / "data/manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["stages"][1]["digest"] = "0" * 64
    path.write_bytes(canonical_json(manifest))
    reseal(bundle.folder)
    found = findings(bundle, ("integrity", "code", "corpus"))
    assert found["corpus"].verdict is Verdict.FAIL
    assert found["corpus"].detail.startswith("the chain of artifacts in data/manifest.json is ")


def test_a_learning_rate_that_the_schedule_does_not_give_is_caught_without_training(bundle: Bundle) -> None:
    edit_ledger(bundle.folder, step=6, lr="0x1.0p-7")
    make_consistent(bundle.folder)
    found = findings(bundle, ("integrity", "code", "chain", "ledger", "rates"))
    assert [name for name, finding in found.items() if finding.verdict is Verdict.FAIL] == ["rates"]
    assert found["rates"].detail.startswith("the learning rate of step 6 is 0x1.0p-7, but 0x1.")


def test_a_changed_norm_in_an_otherwise_perfect_forgery_is_caught_by_the_replay_alone(bundle: Bundle) -> None:
    edit_ledger(bundle.folder, step=6, norm="0x1.0p-7")
    make_consistent(bundle.folder)
    segments = [Segment(0, 4), Segment(4, 8), Segment(8, 12)]
    nonces = (str(number) for number in range(1000))
    bundle.nonce = next(n for n in nonces if draw(segments, root=bundle.root, nonce=n, count=1) == segments[1:2])
    found = findings(bundle, (*QUICK, "rates", "audit"))
    assert [name for name, finding in found.items() if finding.verdict is Verdict.FAIL] == ["audit"]
    assert "differs first in step 6, field norm: 0x1.0p-7 against" in found["audit"].detail
