import subprocess
from pathlib import Path

import pytest

from release.gitpack import EXECUTABLE, FILE, LINK, CodeFile, git_bundle, tree_id

FILES = {
    "a.txt": CodeFile(mode=FILE, content=b"one\n"),
    "a/b.sh": CodeFile(mode=EXECUTABLE, content=b"#!/bin/sh\n"),
    "a-b": CodeFile(mode=FILE, content=b""),
    "a/c/größe.bin": CodeFile(mode=FILE, content=bytes(range(256)) * 600),
    "link": CodeFile(mode=LINK, content=b"a.txt"),
}


def git(*arguments: object) -> str:
    return subprocess.run(["git", *map(str, arguments)], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "repo.bundle").write_bytes(git_bundle(FILES))
    git("clone", "-q", tmp_path / "repo.bundle", tmp_path / "clone")
    return tmp_path / "clone"


def test_a_plain_clone_holds_every_file_with_its_mode(clone: Path) -> None:
    for name, file in FILES.items():
        path = clone / name
        if file.mode == LINK:
            assert str(path.readlink()).encode() == file.content
        else:
            assert path.read_bytes() == file.content
            assert bool(path.stat().st_mode & 0o100) == (file.mode == EXECUTABLE)
    assert git("-C", clone, "status", "--porcelain") == ""
    assert git("-C", clone, "branch", "--show-current") == "main"


def test_git_finds_no_fault_in_the_objects_and_gives_the_same_tree_id(clone: Path) -> None:
    assert git("-C", clone, "fsck", "--strict", "--full") == ""
    assert git("-C", clone, "rev-parse", "HEAD^{tree}") == tree_id(FILES)


def test_the_bytes_depend_on_the_files_alone() -> None:
    shuffled = dict(reversed(FILES.items()))
    assert git_bundle(shuffled) == git_bundle(FILES)
    changed = {**FILES, "a.txt": CodeFile(mode=EXECUTABLE, content=b"one\n")}
    assert git_bundle(changed) != git_bundle(FILES)
    assert tree_id(changed) != tree_id(FILES)
