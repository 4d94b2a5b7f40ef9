"""Members of an archive: wheel, zip, egg, tar with any compression of the standard library, Debian package.

Archives are read in memory: nothing is unpacked to the disk and nothing in them is run. The members that are asked for
are held at once, and so they may not be larger than the memory that a machine surely has.
"""

import fnmatch
import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import zstandard

from core.errors import DataError
from data.reading.compression import READ_BYTES, plain_blocks, whole_content

AR = b"!<arch>\n"
MOST_BYTES = 4 << 30
_STRANGE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# What the standard library raises for archives with changed bytes; RuntimeError also for encrypted and unknown ones.
DAMAGED = (
    EOFError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    zstandard.ZstdError,
)


def read_members(
    archive: Path, patterns: Sequence[str], *, excluded: Sequence[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """Name and content of every archive member that matches one of the globs and none of the excluded ones, by name.

    Raises DataError if the archive is damaged, is of an unknown kind, has no match for a pattern, or says that what
    matches has more than MOST_BYTES when it is unpacked.
    """
    try:
        with _opened(archive) as entries:
            for pattern in (*patterns, *excluded):
                if not fnmatch.filter((entry.name for entry in entries), pattern):
                    raise DataError(f"{archive.name} has no member that matches {pattern!r}; correct the pattern")
            wanted = [_is_any(entry.name, patterns) and not _is_any(entry.name, excluded) for entry in entries]
            yield from sorted(_members(archive, entries, wanted))
    except DAMAGED as error:
        line = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{archive} is a damaged archive: {line}; delete it and fetch again") from error


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file in an archive: its name, size and reader, out of which no more comes; of a hard link, what it links to."""

    name: str
    size: int
    read: Callable[[], bytes]
    link: str = ""


def _members(archive: Path, entries: list[_Entry], wanted: list[bool]) -> Iterator[tuple[str, bytes]]:
    """The wanted members of an archive."""
    linked = {entry.link for entry, is_wanted in zip(entries, wanted, strict=True) if entry.link and is_wanted}
    room = MOST_BYTES
    held: dict[str, bytes] = {}
    for entry, is_wanted in zip(entries, wanted, strict=True):
        if not is_wanted and entry.name not in linked:
            continue
        room -= entry.size
        if room < 0:
            raise DataError(
                f"{archive.name}: what matches of it has more than {MOST_BYTES:,} bytes unpacked; "
                "do not trust this archive, or name fewer members"
            )
        if entry.link and entry.link not in held:
            raise tarfile.TarError(f"{entry.name} is a link to {entry.link}, which does not stand before it")
        # Held rather than read again: going back in a compressed tar means to unpack it from the beginning.
        content = held[entry.link] if entry.link else entry.read()
        if entry.name in linked:
            held[entry.name] = content
        if is_wanted:
            yield entry.name, content


@contextmanager
def _opened(archive: Path) -> Iterator[list[_Entry]]:
    """Every file in an archive, in its order; their readers are of use inside only."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
            # by its entry, not by its name: two members may have the same
            yield [_Entry(_printable(info.filename), info.file_size, partial(opened.read, info)) for info in infos]
        return
    with archive.open("rb") as opened_file, tarfile.open(fileobj=_tar(opened_file)) as unpacked:
        entries = []
        for member in unpacked:
            # A hard link is a file of its own to whoever reads; a symbolic one is another name.
            if member.isfile() or member.islnk():
                link = _printable(member.linkname.removeprefix("./")) if member.islnk() else ""
                name = _printable(member.name.removeprefix("./"))
                entries.append(_Entry(name, member.size, partial(_read_member, unpacked, member), link))
        # A tar reader stops at the end mark, or silently at a torn header: only the stream's end proves it whole.
        while unpacked.fileobj and unpacked.fileobj.read(READ_BYTES):
            pass
        yield entries


def _is_any(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read() if stream else b""


def _printable(name: str) -> str:
    """A member's name with escapes for what breaks a line or is no Unicode, so that it can be shown and stored."""
    return _STRANGE.sub(lambda found: found[0].encode("unicode_escape").decode(), name)


def _tar(stream: IO[bytes]) -> IO[bytes]:
    """The tar that a file is, or that lies in it if it is a Debian package (deb(5): an ar archive of three parts)."""
    if stream.read(len(AR)) != AR:
        stream.seek(0)
        return stream
    while header := stream.read(60):
        name, size = header[:16].decode("latin-1").strip().rstrip("/"), header[48:58]
        if len(header) < 60 or header[58:] != b"`\n" or not size.strip().isdigit():
            raise EOFError("a header of the ar archive is damaged")
        content = stream.read(int(size) + int(size) % 2)
        if len(content) < int(size):
            raise EOFError(f"its part {name} is cut off")
        if name.startswith("data.tar"):
            # Unpacked at once, because the tar is read twice: for its names, and for what is wanted of it.
            part = io.BytesIO(content[: int(size)])
            return io.BytesIO(whole_content(plain_blocks(part, name), name=name, most_bytes=MOST_BYTES))
    raise EOFError("a Debian package without a data.tar")
