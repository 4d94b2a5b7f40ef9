"""A bundle as one file, and archives that were made to do harm."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from release.archive import pack, unpack
from release.contents import Bundle
from release.manifest import first_flaw
from tests.conftest import run_module
from tests.release.forgery import flip_bit


def write_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    """A tar of members, each with as many zeros as its size says."""
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", size: int = 0) -> tarfile.TarInfo:
    """One member of a tar."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, link, size
    return entry


def test_a_bundle_comes_back_as_it_was_and_packs_to_the_same_bytes(bundle: Bundle, tmp_path: Path) -> None:
    pack(bundle.folder, tmp_path / "one.tar")
    os.utime(bundle.folder / "README.md", (1, 1))
    pack(bundle.folder, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert unpack(tmp_path / "one.tar", tmp_path / "back") == bundle.root
    assert first_flaw(tmp_path / "back") == first_flaw(tmp_path / "back/witness") == ""


def test_the_verbs_say_where_and_which_root(bundle: Bundle, tmp_path: Path) -> None:
    assert run_module("release", "pack", bundle.folder, tmp_path / "x.tar").returncode == 0
    done = run_module("release", "unpack", tmp_path / "x.tar", tmp_path / "back")
    assert done.stdout == f"{tmp_path / 'back'}\nroot {bundle.root}\n"
    assert run_module("release", "unpack", tmp_path / "x.tar", tmp_path / "back").returncode == 64


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        (member("../outside"), "leads out"),
        (member("/etc/passwd"), "leads out"),
        (member("a/../../b"), "leads out"),
        (member("./README.md"), "leads out or is not plain"),
        (member("link", tarfile.SYMTYPE, link="/etc"), "a link"),
        (member("link", tarfile.LNKTYPE, link="README.md"), "a link"),
        (member("pipe", tarfile.FIFOTYPE), "a link, device"),
        (member("disk", tarfile.BLKTYPE), "a link, device"),
        (member("x" * 5000), "no file system takes"),
    ],
    ids=lambda value: value.name[:20] + str(value.type) if isinstance(value, tarfile.TarInfo) else "",
)
def test_hostile_members_are_refused_and_nothing_is_left(tmp_path: Path, hostile: tarfile.TarInfo, said: str) -> None:
    archive = write_tar(tmp_path / "x.tar", member("good"), hostile)
    with pytest.raises(DataError, match=said):
        unpack(archive, tmp_path / "back")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_a_file_that_is_there_twice_or_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    twice = write_tar(tmp_path / "x.tar", member("a"), member("a"))
    with pytest.raises(DataError, match="there twice"):
        unpack(twice, tmp_path / "back")
    both = write_tar(tmp_path / "y.tar", member("a"), member("a/b"))
    with pytest.raises(DataError, match="cannot be written"):
        unpack(both, tmp_path / "back")


def test_a_sparse_bomb_a_compressed_one_and_a_lie_about_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "big").touch()
    os.truncate(tmp_path / "big", 1 << 40)
    done = os.system(f"tar --sparse -C {tmp_path} -cf {tmp_path / 'x.tar'} big")
    assert done == 0 and (tmp_path / "x.tar").stat().st_size < 1 << 20
    with pytest.raises(DataError, match="unpacks to more than the archive holds"):
        unpack(tmp_path / "x.tar", tmp_path / "back")
    (tmp_path / "y.tar").write_bytes(gzip.compress(bytes(1 << 20)))
    with pytest.raises(DataError, match="is no plain tar"):
        unpack(tmp_path / "y.tar", tmp_path / "back")
    header = member("a", size=1 << 40).tobuf()
    (tmp_path / "z.tar").write_bytes(header + bytes(1024))
    with pytest.raises(DataError, match="unpacks to more"):
        unpack(tmp_path / "z.tar", tmp_path / "back")


def test_what_is_not_as_the_manifest_says_is_neither_packed_nor_unpacked(bundle: Bundle, tmp_path: Path) -> None:
    pack(bundle.folder, tmp_path / "x.tar")
    content = (tmp_path / "x.tar").read_bytes()
    at = content.index((bundle.folder / "eval/samples.jsonl").read_bytes())
    (tmp_path / "y.tar").write_bytes(content[:at] + b"?" + content[at + 1 :])
    with pytest.raises(DataError, match=r"eval/samples\.jsonl is not what the manifest says"):
        unpack(tmp_path / "y.tar", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    flip_bit(bundle.folder / "README.md")
    with pytest.raises(DataError, match="only whole bundles are packed"):
        pack(bundle.folder, tmp_path / "z.tar")


def test_a_link_outside_the_root_does_not_carry_a_local_file_away(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (bundle.folder / "attestations").mkdir()
    (bundle.folder / "attestations/x.pub").symlink_to(tmp_path / "secret")
    with pytest.raises(DataError, match="is a link"):
        pack(bundle.folder, tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()


def test_a_tar_that_is_cut_short_or_not_there_is_named(bundle: Bundle, tmp_path: Path) -> None:
    pack(bundle.folder, tmp_path / "x.tar")
    (tmp_path / "y.tar").write_bytes((tmp_path / "x.tar").read_bytes()[:-200_000])
    with pytest.raises(DataError):
        unpack(tmp_path / "y.tar", tmp_path / "back")
    with pytest.raises(ConfigError, match="is not there"):
        unpack(tmp_path / "none.tar", tmp_path / "back")
