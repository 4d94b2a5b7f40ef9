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
from collections.abc import Callable, Iterator
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


def read_members(archive: Path, patterns: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of every archive member that matches one of the globs, in the order of the names.

    Raises DataError if the archive is damaged, is of an unknown kind, has no match for a pattern, or says that what
    matches has more than MOST_BYTES when it is unpacked.
    """
    try:
        names = list(_members(archive, patterns=None))
        for pattern in patterns:
            if not fnmatch.filter((name for name, _ in names), pattern):
                raise DataError(f"{archive.name} has no member that matches {pattern!r}; correct the pattern")
        yield from sorted(_members(archive, patterns=patterns))
    except DAMAGED as error:
        line = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{archive} is a damaged archive: {line}; delete it and fetch again") from error


def _members(archive: Path, *, patterns: list[str] | None) -> Iterator[tuple[str, bytes]]:
    """Members of an archive; without patterns, the names of all of them with empty contents."""
    room = MOST_BYTES
    for name, size, read in _entries(archive):
        if patterns is None:
            yield name, b""
        elif any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            room -= size
            if room < 0:
                raise DataError(
                    f"{archive.name}: what matches of it has more than {MOST_BYTES:,} bytes unpacked; "
                    "do not trust this archive, or name fewer members"
                )
            yield name, read()


def _entries(archive: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, size and reader of every file in an archive; more than that size never comes out of the reader."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if not info.is_dir():
                    # by its entry, not by its name: two members may have the same
                    yield _printable(info.filename), info.file_size, partial(opened.read, info)
        return
    with archive.open("rb") as opened_file, tarfile.open(fileobj=_tar(opened_file)) as unpacked:
        for member in unpacked:
            # A hard link is a file of its own to whoever reads; a symbolic one is another name.
            if member.isfile() or member.islnk():
                yield _printable(member.name.removeprefix("./")), member.size, partial(_read_member, unpacked, member)
        # A tar reader stops at the end mark, or silently at a torn header: only the stream's end proves it whole.
        while unpacked.fileobj and unpacked.fileobj.read(READ_BYTES):
            pass


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
            part = io.BytesIO(content[: int(size)])
            if not name.endswith(".zst"):
                return part
            return io.BytesIO(whole_content(plain_blocks(part, name), name=name, most_bytes=MOST_BYTES))
    raise EOFError("a Debian package without a data.tar")
