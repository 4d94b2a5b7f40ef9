"""Records of a web archive (WARC, ISO 28500), and what each of them holds. Nothing is left out without a count.

We frame records ourselves: warcio and fastwarc both stop without a word where a file is cut off. Here every gzip member
must end, every record must have the length it declares and the empty lines behind it, and a block digest, where the
record has one, must be right. What no reader can see is a file that was cut exactly between two records: pin its
SHA-256.

What is a page is decided by the type that the server named, and by the content's beginning where it named none or XML:
toolkits that sniff by libmagic lose XHTML as `text/xml`. One record is held in memory at a time.
"""

import base64
import hashlib
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, parse_headers
from typing import IO

import brotli
import zstandard

from core.errors import DataError
from data.reading.compression import plain_blocks, unpacked
from data.reading.html import is_page

LINE_BYTES = 1 << 16
# A few kilobytes of a compressed response may stand for gigabytes; no page has more than this.
BODY_BYTES = 1 << 28
HTML_TYPES = {"text/html": "html", "application/xhtml+xml": "xhtml"}
# A server that names one of these may mean a page: its beginning decides.
VAGUE_TYPES = ("", "application/octet-stream", "unknown/unknown", "text/xml", "application/xml")
DIGESTS = ("sha1", "sha256", "md5")
UNREADABLE = "unreadable_http"


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it stands in the file: its number from 1, its headers, and its block."""

    number: int
    headers: Message
    block: bytes

    @property
    def kind(self) -> str:
        """The record's WARC-Type."""
        return str(self.headers.get("WARC-Type", "none"))

    @property
    def uri(self) -> str:
        """What was captured; some writers put it in angle brackets."""
        return str(self.headers.get("WARC-Target-URI", "")).strip("<>")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a record holds: its outcome for the count, the page or text if it is a document, and what is wrong."""

    outcome: str
    content: bytes | None = None
    served_as: str = ""
    is_plain: bool = False
    problem: str = ""


def records(stream: IO[bytes], *, name: str) -> Iterator[Record]:
    """Every record of an open .warc or .warc.gz. Raises DataError for a file that is cut off, damaged or no WARC."""
    opened = _Plain(plain_blocks(stream, name))
    number = 0
    while line := opened.readline():
        number += 1
        if not line.startswith(b"WARC/"):
            raise DataError(f"{name} is not a WARC: record {number} begins with {line[:20]!r}; get the file again")
        yield _record(opened, number, where=f"{name} record {number}")
    if not number:
        raise DataError(f"{name} holds no record; get the file again")


class _Plain:
    """Blocks as a file that can be read by line and by size."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._held = b""
        self._at = 0

    def readline(self, limit: int = LINE_BYTES) -> bytes:
        """The next line with its end; shorter at `limit` bytes and at the end of the file."""
        while (end := self._held.find(b"\n", self._at, self._at + limit)) < 0 and len(self._held) - self._at < limit:
            if not self._take_block():
                break
        return self._cut(end + 1 - self._at if end >= 0 else limit)

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end of the file."""
        parts = []
        while size > 0 and (self._at < len(self._held) or self._take_block()):
            parts.append(self._cut(size))
            size -= len(parts[-1])
        return b"".join(parts)

    def _take_block(self) -> bool:
        block = next(self._blocks, None)
        self._held, self._at = self._held[self._at :] + (block or b""), 0
        return block is not None

    def _cut(self, size: int) -> bytes:
        part = self._held[self._at : self._at + size]
        self._at += len(part)
        return part


def _record(opened: _Plain, number: int, *, where: str) -> Record:
    try:
        headers = parse_headers(opened)
        length = int(headers["Content-Length"])
        if length < 0:
            raise ValueError(length)
    except (HTTPException, TypeError, ValueError) as error:
        raise DataError(f"{where} has damaged headers or no length; get the file again") from error
    block = opened.read(length)
    if len(block) < length:
        raise DataError(f"{where} declares {length} bytes and has {len(block)}: the file is cut off; get it again")
    if (ending := opened.read(4)) != b"\r\n\r\n":
        raise DataError(f"{where} is followed by {ending!r}, not by two line ends: it is damaged; get the file again")
    _check_digest(headers, block, where=where)
    return Record(number, headers, block)


def _check_digest(headers: Message, block: bytes, *, where: str) -> None:
    algorithm, _, listed = str(headers.get("WARC-Block-Digest", "")).strip().partition(":")
    if algorithm.lower() not in DIGESTS:
        return
    digest = hashlib.new(algorithm.lower(), block, usedforsecurity=False)
    if listed.lower() != digest.hexdigest() and listed.upper() != base64.b32encode(digest.digest()).decode():
        raise DataError(
            f"{where} has block digest {digest.hexdigest()}, it lists {listed}: damaged; get the file again"
        )


def read_record(record: Record) -> Reading:
    """What a record holds. Pages are responses with status 200 and resources; texts are conversions (WET)."""
    if record.kind == "conversion":
        return Reading("text", record.block, is_plain=True)
    if record.kind == "resource":
        return _reading(record.headers, record.block, status=200)
    if record.kind != "response":
        return Reading("")
    try:
        status, headers, body = _http(record.block)
    except (HTTPException, ValueError):
        return Reading("not http")
    try:
        content = _body(headers, body, is_cut="WARC-Truncated" in record.headers)
    except (ValueError, EOFError, OSError, zlib.error, brotli.error, zstandard.ZstdError):
        declared = headers.get_content_type() if "Content-Type" in headers else ""
        if declared not in (*HTML_TYPES, *VAGUE_TYPES) or status != 200:
            return Reading("other, unreadable")
        return Reading("unreadable", body, problem=UNREADABLE)
    return _reading(headers, content, status=status)


def _reading(headers: Message, content: bytes, *, status: int) -> Reading:
    # get_content_type() answers text/plain where there is no type at all.
    declared = headers.get_content_type() if "Content-Type" in headers else ""
    kind = HTML_TYPES.get(declared, "")
    if declared in VAGUE_TYPES and is_page(content):
        kind = "xhtml" if content.lstrip().startswith(b"<?xml") else "html"
    if not kind or status != 200:
        return Reading(f"{kind or 'other'}{'' if status == 200 else f', status {status}'}")
    return Reading(kind, content, served_as=headers.get_content_charset() or "")


def _http(block: bytes) -> tuple[int, Message, bytes]:
    """Status, headers and body of an HTTP response."""
    stream = io.BytesIO(block)
    version, _, rest = stream.readline(LINE_BYTES).partition(b" ")
    if not version.startswith(b"HTTP/"):
        raise ValueError("no status line")
    return int(rest[:3]), parse_headers(stream), stream.read()


def _body(headers: Message, body: bytes, *, is_cut: bool) -> bytes:
    """A response's content without its transfer and content encodings. Raises ValueError and what decoders raise."""
    if headers.get("Transfer-Encoding", "").lower() == "chunked":
        body = b"".join(_chunks(body))
    elif not is_cut and len(body) < int(headers.get("Content-Length") or 0):
        raise ValueError("shorter than declared")
    for encoding in reversed(headers.get("Content-Encoding", "").lower().replace(" ", "").split(",")):
        body = _decoded(body, encoding)
    return body


def _chunks(body: bytes) -> Iterator[bytes]:
    stream = io.BytesIO(body)
    while length := int(stream.readline(LINE_BYTES).partition(b";")[0], 16):
        chunk = stream.read(length)
        if len(chunk) < length or stream.read(2) != b"\r\n":
            raise ValueError("a chunk is cut off")
        yield chunk


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding in ("", "identity") or not body:
        return body
    if encoding in ("gzip", "x-gzip"):
        return unpacked(body, ".gz", most_bytes=BODY_BYTES)
    if encoding == "zstd":
        return unpacked(body, ".zst", most_bytes=BODY_BYTES)
    if encoding == "deflate":
        inflating = zlib.decompressobj(15 if body[0] & 15 == 8 else -15)
        return _whole(inflating.decompress(body, BODY_BYTES), is_whole=inflating.eof)
    if encoding == "br":
        unfolding = brotli.Decompressor()
        return _whole(unfolding.process(body, output_buffer_limit=BODY_BYTES), is_whole=unfolding.is_finished())
    raise ValueError(f"unknown encoding {encoding}")


def _whole(content: bytes, *, is_whole: bool) -> bytes:
    if not is_whole:
        raise ValueError(f"cut off, or more than {BODY_BYTES:,} bytes")
    return content


def count_records(stream: IO[bytes], *, name: str) -> Counter[str]:
    """How many records there are by kind and outcome, as in `response: html`. Raises DataError as `records` does."""
    found: Counter[str] = Counter()
    for record in records(stream, name=name):
        outcome = read_record(record).outcome
        found[f"{record.kind}: {outcome}" if outcome else record.kind] += 1
    return found
