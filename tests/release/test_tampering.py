"""The tamper campaign: every forgery of forgeries.py against every check that starts no training.

With the manifest as it was, `integrity` (V1) names the file. With a new one, the checks of the table fail (others may
too). What no such check can see is shown as well, and listed in docs/release.md.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.artifact import ATTESTATIONS
from core.codetree import ROOT
from core.hashing import canonical_json, hash_file
from release.contents import Bundle, open_bundle
from release.openness.render import is_same, scripts
from release.signing.attestations import write_release
from release.signing.keys import generate, read_private
from release.verdict import Verdict
from release.verify import CHECKS, judge
from tests.release.forgeries import FORGERIES, UNSEEN, Forgery, rerender
from tests.release.forgery import edit_json, edit_ledger, make_consistent, reseal

# All checks that start no process of a stage; the others have their cases in test_checks.py.
# The report is compared byte for byte, as it is where the running code is the bundle's.
STARTS = ("signature", "forward", "scores", "data", "rates", "corpus", "losses", "audit", "derived")
CHEAP = [
    replace(check, run=is_same) if check.name == "report" else check for check in CHECKS if check.name not in STARTS
]
ALL = {check.name for check in CHEAP}
INTEGRITY = CHECKS[0]


def failed(folder: Path, scratch: Path, names: set[str] = ALL) -> set[str]:
    bundle = open_bundle(folder)
    bundle.scratch, bundle.code = scratch, ROOT
    asked = [check for check in CHEAP if check.name in names]
    return {check.name for check in asked if judge(check, bundle).verdict is Verdict.FAIL}


def test_the_campaign_has_at_least_60_kinds_and_every_cheap_check_catches_some() -> None:
    assert len({forgery.name for forgery in FORGERIES}) == len(FORGERIES) >= 60
    caught = {name for forgery in FORGERIES for name in forgery.caught_by.split()}
    assert caught == ALL - {"integrity"}


def test_an_honest_bundle_is_caught_by_nothing(bundle: Bundle, tmp_path: Path) -> None:
    assert failed(bundle.folder, tmp_path) == set()


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_a_forgery_is_caught(bundle: Bundle, tmp_path: Path, forgery: Forgery) -> None:
    root = bundle.root
    forgery.do(bundle.folder)
    if bundle.root == root:
        assert judge(INTEGRITY, bundle).verdict is Verdict.FAIL
    if not forgery.name.endswith("of a file changed"):
        reseal(bundle.folder)
    assert bundle.root != root
    wanted = set(forgery.caught_by.split())
    assert failed(bundle.folder, tmp_path, wanted) == wanted


def test_no_forgery_under_a_new_manifest_passes_with_the_makers_key_or_the_right_root(
    bundle: Bundle, tmp_path: Path
) -> None:
    bundle.key = generate(tmp_path / "maker")
    bundle.expected_root = bundle.root
    write_release(bundle, read_private(tmp_path / "maker"))
    signature = next(check for check in CHECKS if check.name == "signature")
    assert judge(signature, bundle).verdict is judge(INTEGRITY, bundle).verdict is Verdict.PASS
    FORGERIES[0].do(bundle.folder)
    reseal(bundle.folder)
    assert judge(signature, bundle).verdict is judge(INTEGRITY, bundle).verdict is Verdict.FAIL


def test_what_no_cheap_check_can_see_passes_them_all(bundle: Bundle, tmp_path: Path) -> None:
    """The honest list: these are in UNSEEN and in docs/tampering.md because they pass here."""
    folder = bundle.folder
    edit_ledger(folder, step=6, norm="0x1.0p-7")
    (folder / "eval/samples.jsonl").write_text('{"prompt": "x", "text": "written by hand"}\n')
    refit(folder, "evaluate", "samples.jsonl", place="eval/samples.jsonl")
    make_consistent(folder)
    (folder / "witness/hardware.json").write_bytes(canonical_json({"cores": 10_000}))
    rerender(folder)
    rewrite_readme(folder)
    reseal(folder)
    assert failed(folder, tmp_path) == set()
    page = (ROOT / "docs/tampering.md").read_text(encoding="utf-8")
    assert [unseen for unseen in UNSEEN if unseen not in " ".join(page.split())] == []


def refit(folder: Path, stage: str, name: str, *, place: str) -> None:
    """Make a stage's record say what a file that it made is now."""
    record = folder / f"artifacts/{stage}.json"
    files = json.loads(record.read_bytes())["files"]
    said = {"sha256": hash_file(folder / place), "bytes": (folder / place).stat().st_size}
    edit_json(record, files=[{**entry, **said} if entry["path"] == name else entry for entry in files])


def rewrite_readme(folder: Path) -> None:
    for name, content in scripts(open_bundle(folder)).items():
        (folder / name).write_bytes(content)


def test_attestations_cannot_smuggle_files_past_the_root(bundle: Bundle, tmp_path: Path) -> None:
    (bundle.folder / ATTESTATIONS).mkdir()
    (bundle.folder / ATTESTATIONS / "weights.bin").write_text("x")
    signature = next(check for check in CHECKS if check.name == "signature")
    assert judge(INTEGRITY, bundle).verdict is Verdict.PASS
    assert judge(signature, bundle).verdict is Verdict.FAIL


@pytest.mark.parametrize("path", ["weights", "checkpoints/step-000004", "README.md", "witness/hardware.json"])
def test_links_are_refused_wherever_they_lie(bundle: Bundle, tmp_path: Path, path: str) -> None:
    (bundle.folder / path).rename(tmp_path / "elsewhere")
    (bundle.folder / path).symlink_to(tmp_path / "elsewhere")
    finding = judge(INTEGRITY, bundle)
    assert finding.verdict is Verdict.FAIL
    assert "is a link or no plain file" in finding.detail


def test_a_manifest_that_leads_out_of_the_bundle_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    row = {"path": "../outside", "bytes": 6, "sha256": "0" * 64, "role": "data", "license": "MIT"}
    (bundle.folder / "MANIFEST.jsonl").write_bytes(canonical_json(row) + b"\n")
    finding = judge(INTEGRITY, bundle)
    assert "leads out of the bundle" in finding.detail


def test_every_part_may_be_nonsense_and_no_check_has_a_traceback(bundle: Bundle, tmp_path: Path) -> None:
    for path in sorted(bundle.folder.rglob("*.json")):
        path.write_text("[" * 50_000 if "artifacts" in path.parts else "[null]")
    (bundle.folder / "bundle.json").write_text('{"name": {}}')
    reseal(bundle.folder)
    assert failed(bundle.folder, tmp_path) == ALL - {"integrity"}
