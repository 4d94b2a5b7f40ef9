import json
import os
import subprocess
from pathlib import Path

import pytest

from core.codetree import MAY_IMPORT, ROOT, code_hash
from core.errors import ConfigError, DataError
from release.code import (
    MAX_FILE_BYTES,
    clone,
    commit_facts,
    is_checkout_of,
    read_checkout,
    read_tree,
    stage_code_hash,
    write_code,
)

IMPORTS = {name: [name, *below] for name, below in MAY_IMPORT.items()}


def git(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a", "GIT_COMMITTER_NAME": "a"}
    environment["GIT_COMMITTER_EMAIL"] = "a"
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a committed, a changed, a staged, a deleted, an untracked and an ignored file."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    for name in ("kept.py", "changed.py", "deleted.py"):
        (folder / name).write_text(f"# {name}\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    (folder / "changed.py").write_text("# as it ran\n")
    (folder / "deleted.py").unlink()
    (folder / "staged.py").write_text("# staged\n")
    git(folder, "add", "staged.py")
    (folder / "untracked.py").write_text("# new\n")
    (folder / "ignored.log").write_text("noise\n")
    return folder


def test_what_lies_in_the_working_tree_travels_whatever_git_knows_of_it(checkout: Path, tmp_path: Path) -> None:
    write_code(read_checkout(checkout), tmp_path / "code", imports={})
    clone(tmp_path / "code", tmp_path / "clone")
    names = sorted(path.name for path in (tmp_path / "clone").iterdir() if path.name != ".git")
    assert names == [".gitignore", "changed.py", "kept.py", "staged.py", "untracked.py"]
    assert (tmp_path / "clone/changed.py").read_text() == "# as it ran\n"


def test_reading_the_code_leaves_index_and_status_as_they_were(checkout: Path, tmp_path: Path) -> None:
    before, index = git(checkout, "status", "--porcelain"), (checkout / ".git/index").read_bytes()
    write_code(read_checkout(checkout), tmp_path / "code", imports={})
    assert (checkout / ".git/index").read_bytes() == index
    assert git(checkout, "status", "--porcelain") == before


def test_the_git_bundle_of_a_clone_is_byte_for_byte_the_one_it_came_from(checkout: Path, tmp_path: Path) -> None:
    write_code(read_checkout(checkout), tmp_path / "first", imports={})
    clone(tmp_path / "first", tmp_path / "clone")
    git(tmp_path / "clone", "gc", "-q")
    write_code(read_checkout(tmp_path / "clone"), tmp_path / "second", imports={})
    for name in ("repo.bundle", "tree.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_history_does_not_change_the_git_bundle_but_a_changed_file_does(checkout: Path, tmp_path: Path) -> None:
    write_code(read_checkout(checkout), tmp_path / "first", imports={})
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "two")
    write_code(read_checkout(checkout), tmp_path / "second", imports={})
    assert (tmp_path / "first/repo.bundle").read_bytes() == (tmp_path / "second/repo.bundle").read_bytes()
    (checkout / "kept.py").write_text("# other\n")
    write_code(read_checkout(checkout), tmp_path / "third", imports={})
    assert (tmp_path / "first/repo.bundle").read_bytes() != (tmp_path / "third/repo.bundle").read_bytes()


def test_the_commit_and_whether_files_differ_from_it_are_told(checkout: Path) -> None:
    assert commit_facts(checkout) == {"commit": git(checkout, "rev-parse", "HEAD").strip(), "is_dirty": True}
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "two")
    assert commit_facts(checkout)["is_dirty"] is False


def test_a_folder_that_is_no_checkout_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a git checkout"):
        read_checkout(tmp_path)
    git(tmp_path, "init", "-q")
    (tmp_path / "below").mkdir()
    with pytest.raises(ConfigError, match="is not a git checkout but lies in one"):
        read_checkout(tmp_path / "below")


def test_a_stray_file_too_large_for_code_is_named(checkout: Path) -> None:
    with (checkout / "weights.bin").open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ConfigError, match=r"weights.bin has 33554433 bytes.*name it in .gitignore"):
        read_checkout(checkout)


def test_a_clone_that_was_changed_is_not_taken_for_the_code(checkout: Path, tmp_path: Path) -> None:
    write_code(read_checkout(checkout), tmp_path / "code", imports={})
    clone(tmp_path / "code", tmp_path / "clone")
    clone(tmp_path / "code", tmp_path / "clone")
    (tmp_path / "clone/kept.py").write_text("# edited\n")
    with pytest.raises(DataError, match="has tree"):
        clone(tmp_path / "code", tmp_path / "clone")


def test_a_tree_list_that_does_not_fit_the_git_bundle_is_refused(checkout: Path, tmp_path: Path) -> None:
    write_code(read_checkout(checkout), tmp_path / "code", imports={})
    record = json.loads((tmp_path / "code/tree.json").read_bytes())
    record["files"][0]["sha256"] = "0" * 64
    (tmp_path / "code/tree.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="not what"):
        clone(tmp_path / "code", tmp_path / "clone")


def test_a_stages_code_hash_follows_from_the_list_of_files(tmp_path: Path) -> None:
    write_code(read_checkout(ROOT), tmp_path, imports=IMPORTS)
    assert stage_code_hash(read_tree(tmp_path), "release") == code_hash("release")
    assert is_checkout_of(tmp_path, read_tree(tmp_path)) is False
