"""Plain bytes out of a compressed stream, by the ending of its name: .gz, .zst, .bz2, .xz.

A stream that ends too early is an error, also where a library would stop silently (python-zstandard's stream reader
does), and so is a compressed file out of which nothing comes. Streams that follow one another are read to the end.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import IO

import zstandard

from core.errors import DataError

READ_BYTES = 1 << 20
ENDINGS = (".gz", ".zst", ".bz2", ".xz")
DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def bare_name(name: str) -> str:
    """A file's name without the ending of a compression."""
    ending = next((ending for ending in ENDINGS if name.endswith(ending)), "")
    return name.removesuffix(ending)


def plain_blocks(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """The plain content of a stream, block by block. Raises DataError for damaged compression."""
    is_empty = True
    try:
        for block in _decompressed(stream, name):
            is_empty = is_empty and not block
            yield block
        if is_empty and name.endswith(ENDINGS):
            raise EOFError("nothing comes out of it")
    except DAMAGED as error:
        raise DataError(f"{name} is damaged: {error}; get the file again") from error


def _decompressed(stream: IO[bytes], name: str) -> Iterator[bytes]:
    plain: IO[bytes] = stream
    if name.endswith(".gz"):
        plain = gzip.GzipFile(fileobj=stream)  # type: ignore[assignment]
    elif name.endswith(".bz2"):
        plain = bz2.BZ2File(stream)
    elif name.endswith(".xz"):
        plain = lzma.LZMAFile(stream)  # noqa: SIM115 (the stream is its opener's to close)
    blocks = iter(lambda: plain.read(READ_BYTES), b"")
    return _zstd_blocks(blocks) if name.endswith(".zst") else blocks


def _zstd_blocks(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress frame after frame; raises EOFError for a frame without its end."""
    frame = None
    for block in blocks:
        while block:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(block)
            block = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("the last zstd frame has no end")
