"""Thin bundles: the same root, big parts by digest, and the full bundle again from a mirror."""

import json
import shutil
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from release.contents import Bundle, open_bundle
from release.manifest import THIN, is_big, manifest_root, read_absent, read_manifest
from release.openness.components import Status
from release.openness.verb import facts_of
from release.publish.mirror import look_for_absent
from release.thin import NEEDS, READS_NONE, fill, make_thin
from release.verdict import Verdict
from release.verify import CHECKS, verify
from tests.conftest import run_module
from tests.release.conftest import run_in
from tests.release.forgery import edit_json, flip_bit

WEIGHTS = "weights/final/model.safetensors"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def thin(released: Path, tmp_path: Path) -> Bundle:
    """A thin copy of the bundle, which a test may change; its mirror is the full one."""
    make_thin(released, tmp_path / "thin", mirrors=[str(released)])
    return open_bundle(tmp_path / "thin")


def test_a_thin_bundle_has_the_same_root_and_says_what_is_absent(released: Path, thin: Bundle) -> None:
    big = {entry.path for entry in read_manifest(released) if is_big(entry.path)}
    assert manifest_root(thin.folder) == manifest_root(released)
    assert set(thin.absent) == big
    assert WEIGHTS in big and any(path.startswith("data/pack/") for path in big)
    assert set(contents(released)) - set(contents(thin.folder)) == big
    said = json.loads((thin.folder / THIN).read_bytes())
    assert {row["path"]: row["sha256"] for row in said["absent"]} == {p: e.sha256 for p, e in thin.absent.items()}
    assert read_absent(released) == {}


def test_built_twice_it_has_the_same_bytes_and_nothing_is_written_over(released: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_thin(released, tmp_path / name, mirrors=["https://example.org/tiny"])
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    with pytest.raises(ConfigError, match="is not written over"):
        make_thin(released, tmp_path / "one")


def test_filled_from_a_mirror_it_is_the_full_bundle_byte_for_byte(released: Path, thin: Bundle, tmp_path: Path) -> None:
    done = run_module("release", "fill", thin.folder, tmp_path / "full")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "full") == contents(released)


def test_a_flipped_byte_at_the_mirror_is_named_and_nothing_is_kept(
    bundle: Bundle, thin: Bundle, tmp_path: Path
) -> None:
    flip_bit(bundle.folder / WEIGHTS)
    with pytest.raises(DataError, match=f"{WEIGHTS} at .* has sha256 .* damaged or forged there"):
        fill(thin, tmp_path / "full", mirrors=[str(bundle.folder)])
    assert not (tmp_path / "full").exists()
    done = run_module("release", "verify", thin.folder, "--level", "V1", "--mirror", bundle.folder)
    assert done.returncode == 66
    assert WEIGHTS in done.stderr


def test_a_second_mirror_gives_what_the_first_lacks(released: Path, bundle: Bundle, tmp_path: Path) -> None:
    make_thin(released, tmp_path / "thin")
    thin = open_bundle(tmp_path / "thin")
    (bundle.folder / WEIGHTS).unlink()
    with pytest.raises(ConfigError, match="names no mirror"):
        fill(thin, tmp_path / "full")
    fill(thin, tmp_path / "full", mirrors=[str(bundle.folder), str(released)])
    assert contents(tmp_path / "full") == contents(released)


def test_verify_says_by_reference_where_it_has_nothing_to_check(thin: Bundle) -> None:
    found = {finding.check: finding for finding in verify(thin, level="V4")}
    by_reference = {name for name, finding in found.items() if finding.verdict is Verdict.REFERENCE}
    # This run has no parent, and nothing of it was merged or quantized.
    assert by_reference == {"integrity", *NEEDS} - {"lineage", "derived"}
    assert {found[name].verdict for name in found.keys() - by_reference} == {Verdict.PASS}
    assert "are by reference and not here: --mirror SOURCE fetches them" in found["integrity"].detail


def test_verify_with_a_mirror_checks_all_of_it_and_leaves_the_bundle_thin(released: Path, thin: Bundle) -> None:
    before = contents(thin.folder)
    done = run_module("release", "verify", thin.folder, "--level", "V1", "--mirror", released)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BY REFERENCE" not in done.stdout
    assert contents(thin.folder) == before


def test_without_a_mirror_the_exit_code_is_no_pass(thin: Bundle) -> None:
    done = run_module("release", "verify", thin.folder, "--level", "V1")
    assert done.returncode == 69
    assert "integrity    BY REFERENCE" in done.stdout


def test_every_check_says_what_of_the_big_parts_it_reads() -> None:
    assert {check.name for check in CHECKS} <= {*NEEDS, *READS_NONE}


def test_a_damaged_or_missing_small_file_is_still_a_fail(thin: Bundle) -> None:
    flip_bit(thin.folder / "logs/ledger.jsonl")
    assert next(iter(verify(thin, level="V1"))).verdict is Verdict.FAIL
    (thin.folder / "logs/ledger.jsonl").unlink()
    assert "logs/ledger.jsonl is missing" in next(iter(verify(thin, level="V1"))).detail


@pytest.mark.parametrize(
    "change",
    [
        {"absent": [{"path": "logs/ledger.jsonl", "bytes": 1, "sha256": "0" * 64}]},
        {"absent": [{"path": WEIGHTS, "bytes": 1, "sha256": "0" * 64}]},
        {"absent": [{"path": "weights/other.safetensors", "bytes": 1, "sha256": "0" * 64}]},
        {"root": "0" * 64},
        {"absent": None},
    ],
)
def test_a_forged_list_of_what_is_absent_is_a_fail(thin: Bundle, change: dict[str, object]) -> None:
    edit_json(thin.folder / THIN, **change)
    assert next(iter(verify(open_bundle(thin.folder), level="V1"))).verdict is Verdict.FAIL


def test_what_is_absent_counts_for_openness_only_if_its_bytes_were_seen(
    released: Path, bundle: Bundle, thin: Bundle
) -> None:
    full, unseen = facts_of(open_bundle(released)), facts_of(thin)
    parts = ("final", "intermediate", "optimizer", "datasets")
    assert {full.found[key].status for key in parts} == {Status.PRESENT}
    assert {unseen.found[key].status for key in parts} == {Status.MISSING}
    assert unseen.parameters == full.parameters
    look_for_absent(thin, [str(released)])
    seen = facts_of(thin)
    assert {seen.found[key].status for key in parts} == {Status.BY_REFERENCE}
    assert {key: seen.found[key].licence for key in parts} == {key: full.found[key].licence for key in parts}
    flip_bit(bundle.folder / WEIGHTS)
    with pytest.raises(DataError, match="damaged or forged there"):
        look_for_absent(thin, [str(bundle.folder)])


def test_a_bundle_that_is_not_whole_is_not_made_thin(bundle: Bundle, tmp_path: Path) -> None:
    shutil.rmtree(bundle.folder / "checkpoints/step-000004")
    with pytest.raises(DataError, match="only whole bundles are made thin"):
        make_thin(bundle.folder, tmp_path / "thin")
    assert not (tmp_path / "thin").exists()


def test_a_recipe_asks_for_a_thin_bundle_beside_the_full_one(checkout: Path, recipe: Path, released: Path) -> None:
    asked = ["release.shape=thin", 'release.mirrors=["https://example.org/tiny"]']
    done = run_in(checkout, "release", "build", recipe, *asked)
    assert done.returncode == 0, done.stderr
    thin = Path(done.stdout.splitlines()[-1])
    try:
        assert manifest_root(thin) == manifest_root(released) and read_absent(thin)
        assert json.loads((thin / THIN).read_bytes())["mirrors"] == ["https://example.org/tiny"]
        # The artifact is the full one, found again.
        assert released.parent == Path(done.stdout.splitlines()[0])
    finally:
        shutil.rmtree(thin)
    refused = run_module("release", "check", recipe, asked[1])
    assert refused.returncode == 64 and "set release.shape=thin" in refused.stderr
