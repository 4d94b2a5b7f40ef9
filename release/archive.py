"""Verbs pack and unpack: a bundle as one plain tar, and back, every byte checked.

usage: python -m release pack BUNDLE ARCHIVE.tar    python -m release unpack ARCHIVE.tar FOLDER

The same bundle gives the same bytes: files only, sorted, no times, no owners. An archive from elsewhere is read as
hostile: only plain files and folders, each once, below the folder, none compressed or sparse, so that what comes out is
never larger than what went in. What is unpacked appears under its name only when it is what its manifest says.
"""

import shutil
import stat
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from core.arguments import Parser
from core.durable import sync_file
from core.errors import ConfigError, DataError
from release.contents import open_bundle
from release.manifest import first_flaw, manifest_root

MODES = {True: 0o755, False: 0o644}
MAX_FILES = 10_000_000
MAX_NAME_BYTES = 4096


def pack_main(arguments: list[str]) -> None:
    """Run verb pack: write the archive, and its path to standard output."""
    parser = Parser("python -m release pack BUNDLE ARCHIVE.tar")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("archive", type=Path)
    given = parser.parse_args(arguments)
    pack(open_bundle(given.bundle).folder, given.archive)
    sys.stdout.write(f"{given.archive}\n")


def unpack_main(arguments: list[str]) -> None:
    """Run verb unpack: write the bundle's folder and its root to standard output."""
    parser = Parser("python -m release unpack ARCHIVE.tar FOLDER")
    parser.add_argument("archive", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    root = unpack(given.archive, given.folder)
    sys.stdout.write(f"{given.folder}\nroot {root}\n")


def pack(folder: Path, archive: Path) -> None:
    """Write a bundle as a tar. Raises DataError if the bundle is not what its manifest says."""
    flaw = first_flaw(folder)
    if flaw:
        raise DataError(f"{folder}: {flaw}; only whole bundles are packed")
    if archive.exists():
        raise ConfigError(f"{archive} is there and is not written over; name another file")
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    strange = next((path for path in paths if not stat.S_ISREG(path.lstat().st_mode)), None)
    if strange:
        raise DataError(f"{strange} is a link or no plain file, which a bundle never holds; remove it")
    names = sorted(path.relative_to(folder).as_posix().encode() for path in paths)
    aside = archive.with_name(f".{archive.name}.part")
    with tarfile.open(aside, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in map(bytes.decode, names):
            _add(tar, folder, name)
    sync_file(aside)
    aside.replace(archive)


def unpack(archive: Path, folder: Path) -> str:
    """Unpack a tar into a folder that is not there yet; returns the bundle's root.

    Raises DataError naming the first member that no bundle has, or the first file that is not as the manifest says.
    """
    if folder.exists():
        raise ConfigError(f"{folder} is there and is not written over; name a folder that is not")
    with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".unpack-") as scratch:
        aside = Path(scratch) / "bundle"
        aside.mkdir()
        try:
            with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in _members(tar, archive):
                    _write(tar, member, aside / member.name)
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise DataError(f"{archive} is no plain tar or is damaged: {error}; get it again") from error
        except FileNotFoundError as error:
            raise ConfigError(f"{archive} is not there; name an archive of release pack") from error
        flaw = first_flaw(aside)
        if flaw:
            raise DataError(f"{archive}: {flaw}; get it again")
        aside.rename(folder)
    return manifest_root(folder)


def _add(tar: tarfile.TarFile, folder: Path, name: str) -> None:
    path = folder / name
    entry = tarfile.TarInfo(name)
    entry.size = path.stat().st_size
    entry.mode = MODES[bool(path.stat().st_mode & stat.S_IXUSR)]
    with path.open("rb") as stream:
        tar.addfile(entry, stream)


def _members(tar: tarfile.TarFile, archive: Path) -> Iterator[tarfile.TarInfo]:
    """The members, each checked before the next is read."""
    seen: set[str] = set()
    room = archive.stat().st_size
    for member in tar:
        why = _flaw(member, seen=seen, room=room)
        if why:
            raise DataError(f"{archive} holds {member.name[:200]!r}, {why}; do not use this archive")
        seen.add(member.name)
        room -= member.size
        if member.isreg():
            yield member


def _flaw(member: tarfile.TarInfo, *, seen: set[str], room: int) -> str:
    """Why a member has no place in a bundle; an empty string if it has."""
    name = PurePosixPath(member.name)
    if not member.isreg() and not member.isdir():
        return "a link, device or the like"
    if member.issparse() or member.size > room:
        return "which unpacks to more than the archive holds"
    if name.is_absolute() or ".." in name.parts or not name.parts or str(name) != member.name:
        return "a path that leads out or is not plain"
    if len(member.name.encode(errors="replace")) > MAX_NAME_BYTES or "\0" in member.name:
        return "a name that no file system takes"
    if member.name in seen:
        return "which is there twice"
    return "one file too many" if len(seen) >= MAX_FILES else ""


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    source = tar.extractfile(member)
    if source is None:
        raise DataError(f"{member.name} cannot be read; get the archive again")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with source, path.open("xb") as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise DataError(f"{member.name} cannot be written: {error.strerror}; see the archive's names") from error
    path.chmod(MODES[bool(member.mode & stat.S_IXUSR)])
