"""Git bundles of hostile shape are refused before git unpacks them."""

import hashlib
import subprocess
import zlib
from pathlib import Path

import pytest

from core.errors import DataError
from release import gitread
from release.code import clone, tree_record, write_code
from release.gitpack import EXECUTABLE, FILE, KINDS, LINK, CodeFile, git_bundle, object_id
from release.gitread import check_git_bundle

FILES = {
    "a.txt": CodeFile(mode=FILE, content=b"one\n"),
    "empty": CodeFile(mode=FILE, content=b""),
    "a/b.sh": CodeFile(mode=EXECUTABLE, content=b"#!/bin/sh\n"),
    "a/c/large.bin": CodeFile(mode=FILE, content=bytes(range(256)) * 2000),
    "link": CodeFile(mode=LINK, content=b"a.txt"),
}


def packed(
    *objects: tuple[str, bytes], sizes: dict[int, int] | None = None, kinds: dict[int, int] | None = None
) -> bytes:
    """A git bundle of any objects, compressed; `sizes` and `kinds` say something else of some."""
    body = b""
    for index, (kind, content) in enumerate(objects):
        size, number = (sizes or {}).get(index, len(content)), (kinds or {}).get(index, KINDS[kind])
        first, rest, head = number << 4 | size & 15, size >> 4, bytearray()
        while rest:
            head.append(first | 128)
            first, rest = rest & 127, rest >> 7
        head.append(first)
        body += bytes(head) + zlib.compress(content, 9)
    pack = b"PACK" + (2).to_bytes(4, "big") + len(objects).to_bytes(4, "big") + body
    commit = next((object_id(kind, content) for kind, content in objects if kind == "commit"), "0" * 40)
    head_line = f"# v2 git bundle\n{commit} HEAD\n{commit} refs/heads/main\n\n".encode()
    return head_line + pack + hashlib.sha1(pack).digest()


def commit_of(tree: bytes) -> tuple[str, bytes]:
    text = f"tree {object_id('tree', tree)}\nauthor A <a> 0 +0000\ncommitter A <a> 0 +0000\n\nx\n"
    return "commit", text.encode()


def row(mode: str, name: str, kind: str, content: bytes) -> bytes:
    return f"{mode} {name}\0".encode() + bytes.fromhex(object_id(kind, content))


def refused(content: bytes, folder: Path) -> str:
    path = folder / "repo.bundle"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        check_git_bundle(path)
    return str(caught.value)


def test_what_a_release_writes_is_taken(tmp_path: Path) -> None:
    (tmp_path / "repo.bundle").write_bytes(git_bundle(FILES))
    check_git_bundle(tmp_path / "repo.bundle")
    clone_of = tmp_path / "code"
    write_code(FILES, clone_of, imports={})
    clone(clone_of, tmp_path / "clone")
    assert (tmp_path / "clone/a/c/large.bin").stat().st_size == 512_000
    assert tree_record(FILES, imports={})["tree"]


def test_a_file_of_zeros_that_fills_a_disk_is_not_unpacked(tmp_path: Path) -> None:
    zeros = bytes(64 << 20)
    tree = row("100644", "zeros", "blob", zeros)
    content = packed(commit_of(tree), ("tree", tree), ("blob", zeros))
    assert len(content) < 100_000
    assert "holds a file of 67108864 bytes, and code has none above 33554432" in refused(content, tmp_path)


def test_a_size_that_is_a_lie_is_not_believed(tmp_path: Path) -> None:
    content = bytes(1 << 20)
    tree = row("100644", "zeros", "blob", content)
    lying = packed(commit_of(tree), ("tree", tree), ("blob", content), sizes={2: 100})
    assert "says that it has 100 bytes, and unpacks to others" in refused(lying, tmp_path)


def test_folders_of_folders_that_are_all_one_are_counted_and_not_walked(tmp_path: Path) -> None:
    leaf = b"x" * 1000
    trees = [b"".join(row("100644", f"{n}", "blob", leaf) for n in range(10))]
    for _ in range(11):
        trees.append(b"".join(row("40000", f"{n}", "tree", trees[-1]) for n in range(10)))
    content = packed(commit_of(trees[-1]), *(("tree", tree) for tree in trees), ("blob", leaf))
    assert len(content) < 10_000
    assert "unpacks to 1000000000000 files of 1000000000000000 bytes" in refused(content, tmp_path)


def test_folders_without_end_are_refused(tmp_path: Path) -> None:
    trees = [row("100644", "file", "blob", b"x")]
    for _ in range(150):
        trees.append(row("40000", "in", "tree", trees[-1]))
    content = packed(commit_of(trees[-1]), *(("tree", tree) for tree in trees), ("blob", b"x"))
    assert "more than 100 deep" in refused(content, tmp_path)


def test_deltas_and_histories_are_refused(tmp_path: Path) -> None:
    tree = row("100644", "a", "blob", b"x")
    delta = packed(commit_of(tree), ("tree", tree), ("blob", b"x"), kinds={2: 7})
    assert "an object of kind 7, and code is packed whole, without deltas" in refused(delta, tmp_path)
    two = packed(commit_of(tree), ("commit", commit_of(tree)[1] + b"y"), ("tree", tree), ("blob", b"x"))
    assert "it has 2 commits" in refused(two, tmp_path)


def test_a_bundle_above_the_limit_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitread, "MAX_BUNDLE_BYTES", 1000)
    assert "code has at most 1000" in refused(git_bundle(FILES), tmp_path)


@pytest.mark.parametrize("cut", [3, 20, 90, 200, -1])
def test_a_bundle_that_is_cut_is_refused_in_one_line(tmp_path: Path, cut: int) -> None:
    assert "is not cloned" in refused(git_bundle(FILES)[:cut], tmp_path)


def test_what_lies_behind_the_objects_is_refused(tmp_path: Path) -> None:
    assert "something lies behind" in refused(git_bundle(FILES) + b"more", tmp_path)


def test_clone_refuses_it_before_git_sees_it(tmp_path: Path) -> None:
    write_code(FILES, tmp_path / "code", imports={})
    with (tmp_path / "code/repo.bundle").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(DataError, match="is not cloned"):
        clone(tmp_path / "code", tmp_path / "clone")
    assert not (tmp_path / "clone").exists()


def test_gits_own_bundles_are_refused_unless_they_have_our_form(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path / "repo"), "-c", "user.name=a", "-c", "user.email=a"]
    subprocess.run(["git", "init", "-q", str(tmp_path / "repo")], check=True)
    for number in range(2):
        (tmp_path / "repo/file").write_text(f"{number}\n")
        subprocess.run([*git, "add", "file"], check=True)
        subprocess.run([*git, "commit", "-qm", "x"], check=True)
    subprocess.run([*git, "bundle", "create", "-q", str(tmp_path / "repo.bundle"), "HEAD"], check=True)
    with pytest.raises(DataError, match="2 commits"):
        check_git_bundle(tmp_path / "repo.bundle")
