"""Files and folders that are there whole or not at all."""

import os
from pathlib import Path

import pytest

from core.durable import HALF_WRITTEN, commit_folder, write_durably


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for content in (b"old content", b"new"):
        write_durably(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_content_reaches_the_disk_before_the_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        target = Path(f"/proc/self/fd/{handle}").readlink()
        seen.append("sync folder" if target.is_dir() else "sync file")
        sync(handle)

    def replaced(path: Path, target: Path) -> Path:
        seen.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    write_durably(tmp_path / "f", b"content")
    assert seen == ["sync file", "rename", "sync folder"]


def test_a_failing_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_durably(tmp_path / "f", b"old")

    def full(_handle: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_durably(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    # What it leaves beside is named so that core.artifact knows it.
    assert len(list(tmp_path.glob(HALF_WRITTEN))) == 1


def test_a_folder_gets_its_name_when_all_in_it_is_synced(tmp_path: Path) -> None:
    aside, final = tmp_path / "aside", tmp_path / "final"
    (aside / "deep").mkdir(parents=True)
    (aside / "deep" / "f").write_text("content")
    (aside / "link").symlink_to("nowhere")
    commit_folder(aside, final)
    assert (final / "deep" / "f").read_text() == "content" and not aside.exists()


def test_a_name_that_is_taken_is_not_overwritten(tmp_path: Path) -> None:
    for name in ("aside", "final"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    with pytest.raises(OSError, match="not empty"):
        commit_folder(tmp_path / "aside", tmp_path / "final")
    assert (tmp_path / "final" / "final").exists()
