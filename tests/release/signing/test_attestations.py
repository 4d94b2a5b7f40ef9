"""What a signature holds, and every way to get one that does not."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.artifact import ATTESTATIONS, current, verify_files
from core.errors import ConfigError, DataError
from core.hashing import canonical_json
from release.contents import Bundle, open_bundle
from release.signing.attestations import RELEASE_NAME, signature, write_release, write_verification
from release.signing.dsse import read_envelope, seal
from release.signing.keys import public_path, read_private
from release.signing.sign import write_openssf
from release.signing.statements import provenance_statement, release_statement, verification_statement
from release.verdict import Finding, Verdict
from release.verify import CHECKS, judge
from tests.conftest import run_module
from tests.release.forgery import edit_json, flip_bit, reseal

FOUND = [Finding(check="integrity", verdict=Verdict.PASS, detail="whole")]


def attestations(bundle: Bundle) -> Path:
    return bundle.folder / ATTESTATIONS


def attest(bundle: Bundle, key: Path, *, level: str = "V3") -> Path:
    payload = verification_statement(bundle, FOUND, level=level, verifier={"name": "x"}, made="2026-01-02T03:04:05")
    return write_verification(bundle, payload, read_private(key), level=level)


def test_a_signature_is_held_against_the_given_key(signed: Bundle, key: Path, other_key: Path) -> None:
    assert "whose that is, nothing here can say" in signature(signed)
    signed.key = public_path(key)
    assert "the one given; provenance of 8 stages" in signature(signed)
    signed.key = public_path(other_key)
    with pytest.raises(DataError, match="not signed by the given key"):
        signature(signed)


def test_signing_is_no_part_of_the_root_and_gives_the_same_bytes_twice(bundle: Bundle, key: Path) -> None:
    root = bundle.root
    contents = []
    for _ in range(2):
        write_release(bundle, read_private(key))
        contents.append({path: path.read_bytes() for path in attestations(bundle).rglob("*.*")})
    assert contents[0] == contents[1]
    assert bundle.root == root
    assert judge(CHECKS[0], bundle).verdict is Verdict.PASS


def test_an_artifact_whose_bundle_was_signed_is_still_sound(runs: Path, key: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(runs, tmp_path / "runs"))
    artifact = current(copy, "bundle")
    write_release(open_bundle(artifact.folder / "tiny"), read_private(key))
    verify_files(artifact)


def test_a_second_key_signs_beside_the_first(signed: Bundle, key: Path, other_key: Path) -> None:
    write_release(signed, read_private(other_key))
    for one in (key, other_key):
        signed.key = public_path(one)
        assert "the one given" in signature(signed)


def test_a_changed_bundle_under_a_new_manifest_is_not_what_was_signed(signed: Bundle, key: Path) -> None:
    flip_bit(signed.folder / "README.md")
    reseal(signed.folder)
    signed.key = public_path(key)
    with pytest.raises(DataError, match="speaks of other bytes than this bundle's"):
        signature(signed)
    with pytest.raises(DataError, match="signs something else"):
        write_release(signed, read_private(key))


def test_a_bundle_that_was_signed_anew_by_another_key_fails_against_the_makers(
    signed: Bundle, key: Path, other_key: Path
) -> None:
    flip_bit(signed.folder / "README.md")
    reseal(signed.folder)
    shutil.rmtree(attestations(signed))
    write_release(signed, read_private(other_key))
    assert "is signed by key" in signature(signed)
    signed.key = public_path(key)
    with pytest.raises(DataError, match="not signed by the given key"):
        signature(signed)


def test_a_signature_that_was_taken_away_is_missed_only_with_the_key(signed: Bundle, key: Path) -> None:
    shutil.rmtree(attestations(signed))
    names = [check.name for check in CHECKS]
    assert names.index("signature") == names.index("integrity") + 1
    signed.key = public_path(key)
    with pytest.raises(DataError, match="is not signed, but --key"):
        signature(signed)


def test_an_edited_statement_is_not_what_was_signed(signed: Bundle) -> None:
    path = attestations(signed) / RELEASE_NAME
    payload = json.loads(read_envelope(path).payload)
    payload["predicate"]["name"] = "other"
    forged = json.loads(seal(canonical_json(payload), Ed25519PrivateKey.generate()).to_json())
    edit_json(path, payload=forged["payload"])
    with pytest.raises(DataError, match="not signed by any key that lies in the bundle"):
        signature(signed)


def test_provenance_of_another_artifact_or_by_another_key_fails(signed: Bundle, key: Path, other_key: Path) -> None:
    path = attestations(signed) / "provenance/train.dsse.json"
    whole = path.read_bytes()
    path.write_bytes(seal(provenance_statement(signed, "train"), read_private(other_key)).to_json())
    with pytest.raises(DataError, match=r"train\.dsse\.json is not signed by the key"):
        signature(signed)
    path.write_bytes(seal(provenance_statement(signed, "export"), read_private(key)).to_json())
    with pytest.raises(DataError, match="speaks of other bytes"):
        signature(signed)
    record = json.loads(provenance_statement(signed, "train"))
    record["predicate"]["buildDefinition"]["resolvedDependencies"][1]["digest"]["sha256"] = "0" * 64
    path.write_bytes(seal(canonical_json(record), read_private(key)).to_json())
    with pytest.raises(DataError, match="names other inputs"):
        signature(signed)
    path.write_bytes(whole)
    assert "provenance of 8 stages" in signature(signed)


def test_what_others_found_counts_only_by_a_key_that_was_given(signed: Bundle, other_key: Path) -> None:
    attest(signed, other_key)
    assert "1 verification(s) by keys that were not given, which count for nothing" in signature(signed)
    signed.verifiers = [public_path(other_key)]
    assert "V3 PASSED on 2026-01-02 by verifier key" in signature(signed)


def test_a_makers_word_on_its_own_release_is_told_as_that(signed: Bundle, key: Path) -> None:
    attest(signed, key)
    signed.verifiers = [public_path(key)]
    assert "(its maker's, so by nobody else)" in signature(signed)


def test_a_verification_of_another_bundle_fails(signed: Bundle, other_key: Path) -> None:
    path = attest(signed, other_key)
    record = json.loads(read_envelope(path).payload)
    record["subject"][0]["digest"]["sha256"] = "0" * 64
    path.write_bytes(seal(canonical_json(record), read_private(other_key)).to_json())
    with pytest.raises(DataError, match="speaks of other bytes"):
        signature(signed)


def test_a_statement_of_one_kind_does_not_pass_as_another(signed: Bundle, key: Path) -> None:
    path = attestations(signed) / "verification/x.dsse.json"
    path.parent.mkdir()
    path.write_bytes(seal(release_statement(signed), read_private(key)).to_json())
    with pytest.raises(DataError, match="is of kind urn:wholegrain:release:1"):
        signature(signed)


def test_strange_files_and_links_among_the_attestations_are_refused(signed: Bundle, tmp_path: Path) -> None:
    (attestations(signed) / "run.py").write_text("")
    with pytest.raises(DataError, match=r"run\.py is no attestation"):
        signature(signed)
    (attestations(signed) / "run.py").unlink()
    (attestations(signed) / "keys/x.pub").symlink_to(tmp_path / "maker.pub")
    with pytest.raises(DataError, match="is a link"):
        signature(signed)


def test_sign_verify_and_attest_from_the_command_line(bundle: Bundle, key: Path, other_key: Path) -> None:
    done = run_module("release", "sign", bundle.folder, "--key", key)
    assert done.returncode == 0, done.stderr
    assert f"root {bundle.root}" in done.stdout and "not that its content is true" in done.stdout
    keys = ["--maker-key", public_path(key), "--key", other_key]
    done = run_module("release", "attest", bundle.folder, "--level", "V1", "--by", "a friend", *keys)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = ["--level", "V1", "--key", public_path(key), "--verifier", public_path(other_key)]
    done = run_module("release", "verify", bundle.folder, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[:2]] == [["integrity", "PASS"], ["signature", "PASS"]]
    assert "V1 PASSED on " in done.stdout
    claim, confined = done.stdout.splitlines()[-2:]
    assert claim.startswith("V1 integrity: if all pass, these are the bytes of this root")
    assert confined == "sandbox: no code of the bundle ran at this level"
    flip_bit(bundle.folder / "README.md")
    done = run_module("release", "attest", bundle.folder, "--level", "V1", "--by", "a friend", *keys)
    assert done.returncode == 66
    (said,) = (attestations(bundle) / "verification").iterdir()
    assert read_envelope(said).predicate["result"] == "FAILED"
    assert run_module("release", "sign", bundle.folder, "--key", key).returncode == 66


def test_openssfs_signature_needs_its_package_and_says_so(
    signed: Bundle, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(ConfigError, match="pip install model-signing=="):
        write_openssf(signed, key)
