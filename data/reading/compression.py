"""Plain bytes out of a compressed stream, by the ending of its name: .gz, .zst, .bz2, .xz.

Streams that follow one another are read to the end, and whatever is no sound stream is an error. That is stricter than
the libraries' own readers: python-zstandard's stops silently where a file is cut off, and those of bz2 and lzma leave
out without a word what follows a sound stream and is damaged. A compressed file out of which nothing comes is an error
too.

A few kilobytes may hold gigabytes, so no more than a block is unpacked at a time (of zstd up to 33 MB), and whoever
holds a whole content says how much of it he can take.
"""

import bz2
import lzma
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Protocol

import zstandard

from core.errors import DataError

READ_BYTES = 1 << 20
ENDINGS = (".gz", ".zst", ".bz2", ".xz")
DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
# The largest dictionary of `xz -9` takes 64 MB; a damaged header may ask for 4 GB.
XZ_MEMORY_BYTES = 1 << 30
# 4 bytes of zstd may stand for 128 KB, and the library does not stop in mid-input.
ZSTD_INPUT_BYTES = 1 << 10


class Stream(Protocol):
    """One compressed stream, as bz2 and lzma of the standard library have it."""

    @property
    def eof(self) -> bool:
        """Whether the stream has come to its end."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes out without more input."""

    @property
    def unused_data(self) -> bytes:
        """What stands behind the end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take more of the stream and give at most `max_length` bytes (zstd: somewhat more)."""


class _Gzip:
    """zlib's decompressor, which hands back what it did not use, under the interface of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)  # a gzip header before, CRC and length behind
        self._tail = b""
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._tail and not self._is_full

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        plain = self._inner.decompress(self._tail + data, max_length)
        self._tail = self._inner.unconsumed_tail
        self._is_full = len(plain) == max_length
        return plain


class _Zstd:
    """A zstd frame, fed by so little that not much can come out at once."""

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor().decompressobj()
        self._tail = memoryview(b"")

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return not self._tail

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data) + bytes(self._tail)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._tail = memoryview(bytes(self._tail) + data) if self._tail else memoryview(data)
        plain: list[bytes] = []
        size = 0
        while self._tail and size < max_length and not self._inner.eof:
            head, self._tail = self._tail[:ZSTD_INPUT_BYTES], self._tail[ZSTD_INPUT_BYTES:]
            plain.append(self._inner.decompress(head))
            size += len(plain[-1])
        return b"".join(plain)


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


def whole_content(blocks: Iterable[bytes], *, name: str, most_bytes: int) -> bytes:
    """Blocks as one. Raises DataError if there are more than `most_bytes`."""
    held, size = [], 0
    for block in blocks:
        held.append(block)
        size += len(block)
        if size > most_bytes:
            raise DataError(too_large(name, most_bytes))
    return b"".join(held)


def unpacked(content: bytes, ending: str, *, most_bytes: int) -> bytes:
    """A compressed content as a whole. Raises ValueError if it has more than `most_bytes`, or what DAMAGED lists."""
    held, size = [], 0
    for block in _unpacked(iter([content]), ending):
        held.append(block)
        size += len(block)
        if size > most_bytes:
            raise ValueError(f"more than {most_bytes:,} bytes")
    return b"".join(held)


def too_large(where: str, most_bytes: int) -> str:
    """What is said of a text that would fill the memory."""
    return (
        f"{where} holds more than {most_bytes:,} bytes at once: a decompression bomb, or a file without line ends; "
        "leave it out, cut it up, or raise read.max_record_bytes"
    )


def _decompressed(stream: IO[bytes], name: str) -> Iterator[bytes]:
    blocks = iter(lambda: stream.read(READ_BYTES), b"")
    return _unpacked(blocks, name) if name.endswith(ENDINGS) else blocks


def _unpacked(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Decompress stream after stream; raises EOFError for one without its end."""
    packed: Stream | None = None
    is_first = True
    for block in blocks:
        while block or (packed and not packed.needs_input):
            if packed is None:
                # Files for tape are filled up with zeros, and xz lets them stand between streams.
                block = block.lstrip(b"\0") if name.endswith((".gz", ".xz")) and not is_first else block
                if not block:
                    break
                packed, is_first = _stream(name), False
            yield packed.decompress(block, READ_BYTES)
            block = packed.unused_data if packed.eof else b""
            packed = None if packed.eof else packed
    if packed is not None:
        raise EOFError("its last stream has no end")


def _stream(name: str) -> Stream:
    if name.endswith(".gz"):
        return _Gzip()
    if name.endswith(".bz2"):
        return bz2.BZ2Decompressor()
    if name.endswith(".xz"):
        return lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)
    return _Zstd()
