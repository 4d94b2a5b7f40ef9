"""Publishing: repeatable, read back, and refused where it would mix two releases."""

import json
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from release.manifest import first_flaw, manifest_root
from release.publish.folder import Folder
from release.publish.parts import Part, add_mirrors, bundle_parts
from release.publish.push import main, publish
from tests.conftest import run_module
from tests.release.publish.conftest import FILES, OUTSIDE, contents, write_bundle

SENT = len(FILES) + len(OUTSIDE) + 3


def sent(said: str) -> int:
    """How many files the verb says it sent."""
    return int(said.partition("sent ")[2].split(" ")[0])


def test_what_lies_there_is_the_bundle_and_a_second_time_nothing_is_sent(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place" / "tiny"
    before = contents(tiny)
    main([str(tiny), "--to", str(place)])
    assert sent(capsys.readouterr().out) == SENT
    assert contents(place) == before == contents(tiny)
    assert first_flaw(place) == "" and not (tiny / "mirrors.json").exists()
    main([str(tiny), "--to", str(place)])
    assert sent(capsys.readouterr().out) == 0


def test_what_rotted_or_went_missing_there_is_sent_again_and_nothing_else(
    tiny: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (published / "README.md").write_bytes(b"A bundle\n")
    (published / "weights/small.bin").unlink()
    capsys.readouterr()
    main([str(tiny), "--to", str(published)])
    assert sent(capsys.readouterr().out) == 2
    assert contents(published) == contents(tiny)


def test_an_attestation_may_follow(tiny: Path, published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / "attestations/later.json").write_bytes(b"{}")
    capsys.readouterr()
    main([str(tiny), "--to", str(published)])
    assert sent(capsys.readouterr().out) == 2
    assert contents(published) == contents(tiny)


class Corrupting(Folder):
    """A folder whose disk flips a bit of one file."""

    def write(self, part: Part, file: Path) -> None:
        super().write(part, file)
        if part.path == "weights/small.bin":
            target = Path(self.address) / part.path
            target.write_bytes(bytes([target.read_bytes()[0] ^ 1]) + target.read_bytes()[1:])


def test_what_reads_back_otherwise_is_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"weights/small\.bin was sent to .* what lies there has sha256"):
        publish(tiny, bundle_parts(tiny), Corrupting(str(tmp_path / "place")), mirrors=add_mirrors(tiny, []))


def test_two_releases_do_not_mix(tiny: Path, published: Path, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", readme=b"else")
    with pytest.raises(ConfigError, match=f"holds another release or a damaged one .root {manifest_root(tiny)}"):
        main([str(other), "--to", str(published)])
    assert contents(published) == contents(tiny)


def test_what_is_not_whole_is_not_published(tiny: Path, tmp_path: Path) -> None:
    (tiny / "README.md").write_bytes(b"x")
    done = run_module("release", "publish", tiny, "--to", tmp_path / "place")
    assert done.returncode == 66 and "README.md is not what the manifest says" in done.stderr
    assert not (tmp_path / "place").exists()
    with pytest.raises(ConfigError, match="is no bundle"):
        main([str(tiny / "data"), "--to", str(tmp_path / "place")])


@pytest.mark.parametrize(
    ("to", "says"),
    [("{tiny}/inside", "lies in the bundle itself"), ("https://h/x", "can only be read"), ("s3://k:s@b/x", "password")],
)
def test_a_place_that_cannot_be_is_one_clear_line(tiny: Path, to: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        main([str(tiny), "--to", to.format(tiny=tiny)])


def test_a_bundles_own_folder_is_no_destination(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="lies in the bundle itself"):
        main([str(tiny), "--to", str(tiny)])


def test_a_file_of_mirrors_collects_addresses_and_each_copy_tells_them(tiny: Path, tmp_path: Path) -> None:
    told, store = tmp_path / "told.json", f"memory://{tmp_path}/tiny"
    main([str(tiny), "--to", store, "--mirrors", str(told)])
    main([str(tiny), "--to", str(tmp_path / "place"), "--mirrors", str(told)])
    copy = json.loads((tmp_path / "place/mirrors.json").read_bytes())
    assert copy == json.loads(told.read_bytes())
    assert copy["mirrors"] == [store] and copy["root"] == manifest_root(tiny)
    assert [row["path"] for row in copy["outside"]] == sorted([*OUTSIDE, "witness/MANIFEST.jsonl"])
    other = write_bundle(tmp_path / "other", readme=b"else")
    with pytest.raises(ConfigError, match="name another file"):
        main([str(other), "--to", str(tmp_path / "elsewhere"), "--mirrors", str(told)])
