"""A release comes over a web server that drops, corrupts and cuts: whole, or not at all."""

import json
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError, RetryError
from core.hashing import canonical_json
from release.manifest import NAME, first_flaw, manifest_root
from release.publish.fetch import fetch, main
from release.publish.place import open_source
from tests.conftest import run_module
from tests.data.flaky import Site
from tests.release.publish.conftest import contents, put_on, write_bundle

WEIGHTS = "weights/final/model.safetensors"


def corrupt(site: Site, name: str) -> None:
    """Flip a bit in the middle of a file that a server shows."""
    content = bytearray(site.files[f"/tiny/{name}"])
    content[len(content) // 2] ^= 1
    site.files[f"/tiny/{name}"] = bytes(content)


def test_what_comes_is_what_was_published(tiny: Path, published: Path, site: Site, tmp_path: Path) -> None:
    main([put_on(site, published), "--to", str(tmp_path / "got"), "--root", manifest_root(tiny)])
    assert contents(tmp_path / "got") == contents(tiny)
    assert first_flaw(tmp_path / "got") == first_flaw(tmp_path / "got" / "witness") == ""
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    "name",
    [NAME, "README.md", WEIGHTS, "witness/journal.jsonl", "attestations/release.dsse.json"],
)
def test_a_corrupted_byte_is_refused_by_the_files_name(
    tiny: Path, published: Path, site: Site, tmp_path: Path, name: str
) -> None:
    address = put_on(site, published)
    corrupt(site, name)
    with pytest.raises(DataError, match=name):
        main([address, "--to", str(tmp_path / "got"), "--root", manifest_root(tiny)])
    assert not (tmp_path / "got").exists()


def test_dropped_connections_and_faults_are_taken_up_where_they_broke(
    published: Path, site: Site, tmp_path: Path
) -> None:
    address = put_on(site, published)
    site.faults = ["drop", 503, "", "drop", "", 500, *["drop"] * 4, 429, "", "", *["drop"] * 3]
    main([address, "--to", str(tmp_path / "got")])
    assert first_flaw(tmp_path / "got") == ""
    assert any(asked.startswith("bytes=") for asked in site.ranges)


def test_a_server_that_does_not_heed_ranges_is_read_from_the_start(published: Path, site: Site, tmp_path: Path) -> None:
    address = put_on(site, published)
    site.is_range_ignored = True
    (tmp_path / ".got.coming").write_bytes((published / "README.md").read_bytes()[:4])
    main([address, "--to", str(tmp_path / "got")])
    assert first_flaw(tmp_path / "got") == ""


def test_a_range_from_a_later_byte_is_refused(published: Path, site: Site, tmp_path: Path) -> None:
    address = put_on(site, published)
    site.shift = 2
    (tmp_path / ".got.coming").write_bytes((published / "README.md").read_bytes()[:4])
    with pytest.raises(DataError, match="asked for byte 4 on and answers from byte 6"):
        main([address, "--to", str(tmp_path / "got")])


@pytest.mark.parametrize(("change", "says"), [(-5, "has 199995 bytes, not 200000"), (7, "not 200000")])
def test_a_file_that_is_cut_or_too_long_is_named(
    published: Path, site: Site, tmp_path: Path, change: int, says: str
) -> None:
    address = put_on(site, published)
    content = site.files[f"/tiny/{WEIGHTS}"]
    site.files[f"/tiny/{WEIGHTS}"] = content[:change] if change < 0 else content + b"x" * change
    with pytest.raises(DataError, match=f"{WEIGHTS} .*{says}"):
        main([address, "--to", str(tmp_path / "got")])


def test_a_server_that_stays_away_asks_to_be_retried_and_the_next_run_goes_on(
    published: Path, site: Site, tmp_path: Path
) -> None:
    address = put_on(site, published)
    site.faults = ["", "", "", "", "", "", *["drop"] * 2, *[500] * 9]
    with pytest.raises(RetryError):
        main([address, "--to", str(tmp_path / "got")])
    assert not (tmp_path / "got").exists()
    site.faults, before = [], dict(site.asked)
    site.ranges.clear()
    main([address, "--to", str(tmp_path / "got")])
    assert site.asked["/tiny/README.md"] == before["/tiny/README.md"] == 1
    assert [asked for asked in site.ranges if asked] != []
    assert first_flaw(tmp_path / "got") == ""


def test_the_beginning_of_another_file_is_begun_again(published: Path, site: Site, tmp_path: Path) -> None:
    (tmp_path / ".got.coming").write_bytes(b"zz")
    main([put_on(site, published), "--to", str(tmp_path / "got")])
    assert first_flaw(tmp_path / "got") == ""


def test_what_an_attempt_at_another_release_left_goes_away(published: Path, site: Site, tmp_path: Path) -> None:
    left = tmp_path / ".got.part"
    (left / "old").mkdir(parents=True)
    (left / "old" / "file").write_bytes(b"x")
    (left / "README.md").symlink_to(tmp_path / "elsewhere")
    main([put_on(site, published), "--to", str(tmp_path / "got")])
    assert first_flaw(tmp_path / "got") == "" and not (tmp_path / "got" / "old").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_another_root_is_refused_and_none_is_said_to_be_compared(
    tiny: Path, published: Path, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = put_on(site, published)
    with pytest.raises(DataError, match="not the root 000"):
        main([address, "--to", str(tmp_path / "got"), "--root", "0" * 64])
    main([address, "--to", str(tmp_path / "got")])
    assert f"root {manifest_root(tiny)}\nno --root was given: compare" in capsys.readouterr().out


def test_a_file_that_one_mirror_has_otherwise_comes_from_the_next(published: Path, site: Site, tmp_path: Path) -> None:
    address = put_on(site, published)
    corrupt(site, WEIGHTS)
    root = fetch([open_source(address), open_source(str(published))], tmp_path / "got")
    assert root == manifest_root(published) and first_flaw(tmp_path / "got") == ""


def test_a_bundle_that_was_only_copied_to_a_server_comes_with_its_witness(
    tiny: Path, site: Site, tmp_path: Path
) -> None:
    main([put_on(site, tiny), "--to", str(tmp_path / "got")])
    assert first_flaw(tmp_path / "got" / "witness") == ""
    corrupt(site, "witness/journal.jsonl")
    with pytest.raises(DataError, match=r"witness/journal\.jsonl"):
        main([f"{site.url}/tiny", "--to", str(tmp_path / "again")])


def test_a_finished_fetch_is_repeated_without_asking_and_damage_is_seen(
    published: Path, site: Site, tmp_path: Path
) -> None:
    address, got = put_on(site, published), tmp_path / "got"
    main([address, "--to", str(got)])
    asked = sum(site.asked.values())
    main([address, "--to", str(got)])
    assert sum(site.asked.values()) == asked
    with pytest.raises(ConfigError, match="holds another release"):
        main([address, "--to", str(got), "--root", "0" * 64])
    (got / "README.md").write_bytes(b"other")
    with pytest.raises(DataError, match=r"README\.md is not what the manifest says"):
        main([address, "--to", str(got)])


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("../out", "leads out"),
        ("/etc/passwd", "leads out"),
        ("README.md/x", "below another file"),
        ("witness/x", "lies outside the root"),
        ("mirrors.json", "lies outside the root"),
        (7, "a path or a size that is none"),
    ],
)
def test_a_manifest_of_hostile_paths_is_refused(site: Site, tmp_path: Path, path: object, says: str) -> None:
    rows = [{"path": name, "bytes": 1, "sha256": "0" * 64, "role": "x", "license": "x"} for name in ("README.md", path)]
    ordered = sorted(rows, key=lambda row: str(row["path"]))
    site.files[f"/tiny/{NAME}"] = b"".join(canonical_json(row) + b"\n" for row in ordered)
    with pytest.raises(DataError, match=says):
        main([f"{site.url}/tiny", "--to", str(tmp_path / "got")])


@pytest.mark.parametrize("path", ["README.md", "attestations/../README.md", "attestations/a/../../../x"])
def test_what_lies_outside_the_root_cannot_reach_inside(published: Path, site: Site, tmp_path: Path, path: str) -> None:
    address = put_on(site, published)
    record = json.loads(site.files["/tiny/mirrors.json"])
    record["outside"].append({"path": path, "bytes": 1, "sha256": "0" * 64})
    site.files["/tiny/mirrors.json"] = canonical_json(record)
    with pytest.raises(DataError, match=r"mirrors\.json at .* names"):
        main([address, "--to", str(tmp_path / "got")])


def test_the_mirrors_of_a_release_are_tried_in_turn(tiny: Path, site: Site, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    record = {"format": "wholegrain-mirrors-1", "name": "tiny", "root": manifest_root(tiny), "outside": []}
    told.write_bytes(canonical_json(record | {"mirrors": [f"{site.url}/gone", put_on(site, tiny)]}))
    main([str(told), "--to", str(tmp_path / "got")])
    assert first_flaw(tmp_path / "got") == ""
    told.write_bytes(canonical_json(record | {"mirrors": ["magnet:?xt=urn:btih:0"]}))
    with pytest.raises(ConfigError, match="names no place to fetch from"):
        main([str(told), "--to", str(tmp_path / "again")])


def test_what_is_no_source_is_one_clear_line(tmp_path: Path) -> None:
    done = run_module("release", "fetch", tmp_path / "nothing", "--to", tmp_path / "got")
    assert done.returncode == 64 and "is neither address, folder" in done.stderr and done.stderr.count("\n") == 1
    for address, says in (("http://a:b@h/x", "holds a password"), ("nosuch://x", "has no client here")):
        with pytest.raises(ConfigError, match=says):
            main([address, "--to", str(tmp_path / "got")])


def test_a_release_of_another_content_has_another_root(tiny: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", readme=b"else")
    assert manifest_root(other) != manifest_root(tiny)
