from pathlib import Path

import pytest

from core.errors import DataError
from core.hashing import canonical_json, hash_file
from release.manifest import NAME, first_flaw, list_files, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "witness").mkdir()
    (folder / "one").write_text("1")
    (folder / "below/two").write_text("2")
    (folder / "witness/clock").write_text("now")
    write_manifest(folder, list_files(folder, lambda path: ("data", "CC0-1.0")))
    return folder


def test_the_root_is_the_hash_of_a_sorted_list_of_all_files_but_the_witness(folder: Path) -> None:
    assert [entry.path for entry in read_manifest(folder)] == ["below/two", "one"]
    assert write_manifest(folder, reversed(read_manifest(folder))) == hash_file(folder / NAME)
    assert first_flaw(folder) == ""


def test_the_witness_may_change_and_nothing_else(folder: Path) -> None:
    (folder / "witness/clock").write_text("later")
    assert first_flaw(folder) == ""
    (folder / "one").write_text("x")
    assert first_flaw(folder) == "one is not what the manifest says"


def test_missing_and_added_files_are_named(folder: Path) -> None:
    (folder / "added").write_text("")
    assert first_flaw(folder) == "added is not in the manifest"
    (folder / "added").unlink()
    (folder / "below/two").unlink()
    assert first_flaw(folder) == "below/two is missing"


def test_a_link_is_refused_even_if_it_leads_to_the_right_content(folder: Path) -> None:
    (folder / "one").rename(folder.parent / "elsewhere")
    (folder / "one").symlink_to(folder.parent / "elsewhere")
    with pytest.raises(DataError, match="is a link or no plain file"):
        first_flaw(folder)


def test_a_linked_witness_is_refused(folder: Path) -> None:
    (folder / "witness").rename(folder.parent / "elsewhere")
    (folder / "witness").symlink_to(folder.parent / "elsewhere")
    with pytest.raises(DataError, match="is a link or no plain file"):
        first_flaw(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "below/../../outside", "./one", ""])
def test_a_path_that_leads_out_or_is_not_plain_is_refused(folder: Path, name: str) -> None:
    row = {"path": name, "bytes": 1, "sha256": "0" * 64, "role": "data", "license": "CC0-1.0"}
    (folder / NAME).write_bytes(canonical_json(row) + b"\n")
    with pytest.raises(DataError, match="leads out of the bundle"):
        read_manifest(folder)


def test_a_manifest_that_is_unsorted_or_torn_is_refused(folder: Path) -> None:
    rows = (folder / NAME).read_bytes().splitlines(keepends=True)
    (folder / NAME).write_bytes(b"".join(reversed(rows)))
    with pytest.raises(DataError, match="not sorted"):
        read_manifest(folder)
    (folder / NAME).write_bytes(rows[0][:20])
    with pytest.raises(DataError, match="missing or damaged"):
        read_manifest(folder)
