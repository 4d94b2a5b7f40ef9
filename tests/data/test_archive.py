import gzip
import io
import tarfile
from pathlib import Path

import pytest

from core.errors import DataError
from data.reading.archive import read_members
from data.reading.extract import ReadConfig, open_members


def pack_links(path: Path, links: list[tuple[str, str]]) -> None:
    """A .tar.gz of two files and of hard links, each a name and what it links to."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("a/first.txt", b"one"), ("a/second.txt", b"two")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.LNKTYPE, target
            archive.addfile(member)


def test_hard_links_do_not_unpack_the_archive_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tar.gz"
    pack_links(path, [(f"b/{number}.txt", f"a/{('first', 'second')[number % 2]}.txt") for number in range(9)])
    plain_seek, backwards = gzip.GzipFile.seek, []

    def seek(self: gzip.GzipFile, offset: int, whence: int = io.SEEK_SET) -> int:
        backwards.extend([offset] if whence == io.SEEK_SET and offset < self.tell() else [])
        return plain_seek(self, offset, whence)

    monkeypatch.setattr(gzip.GzipFile, "seek", seek)
    contents = [(f"b/{number}.txt", (b"one", b"two")[number % 2]) for number in range(9)]
    assert list(read_members(path, ["b/*"])) == contents
    assert len(backwards) <= 2  # after looking whether it is a tar, and after its names are known
    assert [name for name, _ in read_members(path, ["a/second.txt", "b/1.txt"])] == ["a/second.txt", "b/1.txt"]


def test_a_hard_link_to_what_is_not_there_is_a_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    pack_links(path, [("b/1.txt", "a/third.txt")])
    with pytest.raises(DataError, match=r"b/1\.txt is a link to a/third\.txt, which does not stand before it"):
        list(read_members(path, ["b/*"]))
    assert [name for name, _ in read_members(path, ["a/*"])] == ["a/first.txt", "a/second.txt"]


def test_members_may_be_excluded(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    pack_links(path, [("b/1.txt", "a/first.txt"), ("b/2.txt", "a/second.txt")])
    read = ReadConfig(members=["a/*", "b/*"], excluded=["a/f*", "*/2.txt"])
    assert [(name, stream.read()) for name, stream in open_members(path, read)] == [
        ("a/second.txt", b"two"),
        ("b/1.txt", b"one"),
    ]
    with pytest.raises(DataError, match=r"no member that matches '\*\.md'"):
        list(read_members(path, ["a/*"], excluded=["*.md"]))
