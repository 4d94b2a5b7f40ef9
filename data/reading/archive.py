"""Members of an archive: wheel, zip, egg, tar with any compression of the standard library, Debian package.

Archives are read in memory, member by member: nothing is unpacked to the disk and nothing in them is run.
"""

import fnmatch
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import zstandard

from core.errors import DataError
from data.reading.compression import READ_BYTES, plain_blocks

AR = b"!<arch>\n"
DAMAGED = (EOFError, OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def read_members(archive: Path, patterns: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of every archive member that matches one of the globs, in the order of the names.

    Raises DataError if the archive is damaged, is of an unknown kind, or has no match for a pattern.
    """
    try:
        names = list(_members(archive, patterns=None))
        for pattern in patterns:
            if not fnmatch.filter((name for name, _ in names), pattern):
                raise DataError(f"{archive.name} has no member that matches {pattern!r}; correct the pattern")
        yield from sorted(_members(archive, patterns=patterns))
    except DAMAGED as error:
        raise DataError(f"{archive} is a damaged archive: {error}; delete it and fetch again") from error


def _members(archive: Path, *, patterns: list[str] | None) -> Iterator[tuple[str, bytes]]:
    """Members of an archive; without patterns, the names of all of them with empty contents."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for name in (info.filename for info in opened.infolist() if not info.is_dir()):
                if patterns is None or _is_wanted(name, patterns):
                    yield name, opened.read(name) if patterns else b""
        return
    with archive.open("rb") as opened_file, tarfile.open(fileobj=_tar(opened_file)) as unpacked:
        for member in unpacked:
            name = member.name.removeprefix("./")
            # A hard link is a file of its own to whoever reads; a symbolic one is another name.
            if (member.isfile() or member.islnk()) and (patterns is None or _is_wanted(name, patterns)):
                stream = unpacked.extractfile(member)
                yield name, stream.read() if patterns and stream else b""
        # A tar reader stops at the end mark, or silently at a torn header: only the stream's end proves it whole.
        while unpacked.fileobj and unpacked.fileobj.read(READ_BYTES):
            pass


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
            return io.BytesIO(b"".join(plain_blocks(part, name))) if name.endswith(".zst") else part
    raise EOFError("a Debian package without a data.tar")


def _is_wanted(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
