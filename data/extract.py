"""Reads archives and files, and cuts what is in them into raw documents.

Archives (wheel, zip, egg, tar with any compression of the standard library) are read in memory, member by member:
nothing is unpacked to the disk and nothing in them is run. Text files may be plain, .gz or .zst; a stream that ends
too early is an error, also where the library would stop silently (python-zstandard's stream reader does).
"""

import fnmatch
import gzip
import io
import json
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO, Any

import zstandard

from core.errors import ConfigError, DataError

READ_BYTES = 1 << 20
DAMAGED = (EOFError, OSError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError)


class Format(Enum):
    """What a file holds; AUTO goes by its name, behind which .gz or .zst may stand."""

    AUTO = "auto"
    TXT = "txt"
    JSONL = "jsonl"
    JSON = "json"


class Split(Enum):
    """How the text of a txt file becomes documents; paragraphs are separated by blank lines."""

    PARAGRAPHS = "paragraphs"
    SECTIONS = "sections"
    WHOLE = "whole"


class OnError(Enum):
    """What happens to a record that cannot be read: the stage stops, or the record is dropped and counted."""

    STOP = "stop"
    DROP = "drop"


@dataclass(kw_only=True, slots=True)
class ReadConfig:
    """Field `read` of a source: which members of an archive hold text, and how it becomes documents.

    members          globs over the archive's member names (`*` also matches `/`); unused for plain files
    text_field       the field of a JSON record that holds the text
    heading          sections only: a paragraph that begins with a match of this pattern starts a new document
    section_chars    sections only: a document that would grow beyond this is closed at the paragraph before
    """

    members: list[str] = field(default_factory=list)
    format: Format = Format.AUTO
    text_field: str = "text"
    split: Split = Split.PARAGRAPHS
    heading: str = ""
    section_chars: int = 4000
    on_error: OnError = OnError.STOP

    def __post_init__(self) -> None:
        try:
            re.compile(self.heading)
        except re.error as error:
            raise ConfigError(
                f"read.heading {self.heading!r} is not a pattern: {error}; write it as for re.match"
            ) from error
        if self.section_chars < 1:
            raise ConfigError(f"read.section_chars is {self.section_chars}; give at least 1 character")


@dataclass(frozen=True, slots=True)
class Raw:
    """A raw document: its text as found, where it was found, and the reason why it is unreadable (else empty)."""

    text: str
    origin: str
    problem: str = ""


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
    with tarfile.open(archive) as unpacked:
        for member in unpacked:
            if member.isfile() and (patterns is None or _is_wanted(member.name, patterns)):
                stream = unpacked.extractfile(member)
                yield member.name, stream.read() if patterns and stream else b""
        # A tar reader stops at the end mark, or silently at a torn header: only the stream's end proves it whole.
        while unpacked.fileobj and unpacked.fileobj.read(READ_BYTES):
            pass


def _is_wanted(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def raw_documents(stream: IO[bytes], *, name: str, read: ReadConfig) -> Iterator[Raw]:
    """Cut an open file into raw documents; `name` is its name in origins and messages, and tells its format.

    Raises DataError naming file and line for damaged compression, invalid UTF-8, bad JSON and a record without
    text; the last three only if `read.on_error` is STOP.
    """
    kind, bare = format_of(name, read.format)
    lines = _lines(_blocks(stream, name), name=name)
    if kind is Format.JSONL:
        found = _jsonl(lines, name=bare, read=read)
    elif kind is Format.JSON:
        found = _json(lines, name=bare, read=read)
    else:
        found = _txt(lines, name=bare, read=read)
    for raw, where in found:
        if raw.problem and read.on_error is OnError.STOP:
            raise DataError(
                f"{where} is unreadable ({raw.problem}); mend it, or drop and count such records: read.on_error=drop"
            )
        yield raw


def format_of(name: str, asked: Format) -> tuple[Format, str]:
    """The format of a file and its name without the ending of a compression. Raises DataError if it is unknown."""
    bare = name.removesuffix(".gz").removesuffix(".zst")
    if asked is not Format.AUTO:
        return asked, bare
    endings = {".txt": Format.TXT, ".jsonl": Format.JSONL, ".json": Format.JSON}
    ending = Path(bare).suffix
    if ending not in endings:
        raise DataError(f"{name} does not end in .txt, .jsonl or .json (or these with .gz, .zst); set read.format")
    return endings[ending], bare


def _blocks(stream: IO[bytes], name: str) -> Iterator[bytes]:
    is_empty = True
    try:
        plain: IO[bytes] = gzip.GzipFile(fileobj=stream) if name.endswith(".gz") else stream  # type: ignore[assignment]
        blocks = iter(lambda: plain.read(READ_BYTES), b"")
        for block in _zstd_blocks(blocks) if name.endswith(".zst") else blocks:
            is_empty = False
            yield block
        if is_empty and name.endswith((".gz", ".zst")):
            raise EOFError("nothing comes out of it")
    except DAMAGED as error:
        raise DataError(f"{name} is damaged: {error}; get the file again") from error


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


def _lines(blocks: Iterator[bytes], *, name: str) -> Iterator[tuple[int, str, bool]]:
    """Number, text without newline, and whether it was valid UTF-8, of every line; a byte order mark is left out."""
    rest, number = b"", 0
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            number += 1
            yield _decode(line, number)
    if rest:
        yield _decode(rest, number + 1)


def _decode(line: bytes, number: int) -> tuple[int, str, bool]:
    encoding = "utf-8-sig" if number == 1 else "utf-8"
    try:
        return number, line.decode(encoding).removesuffix("\r"), True
    except UnicodeDecodeError:
        return number, line.decode(encoding, errors="replace"), False


Found = Iterator[tuple[Raw, str]]
Lines = Iterator[tuple[int, str, bool]]


def _jsonl(lines: Lines, *, name: str, read: ReadConfig) -> Found:
    for number, line, is_utf8 in lines:
        if not line.strip():
            continue
        where = f"{name} line {number}"
        if not is_utf8:
            yield Raw(line, name, "unreadable_utf8"), where
            continue
        try:
            record = json.loads(line)
        except ValueError:
            yield Raw(line, name, "unreadable_json"), where
            continue
        yield _record(record, origin=name, read=read), where


def _json(lines: Lines, *, name: str, read: ReadConfig) -> Found:
    """A list of records, or an object of records by name, or one record."""
    content = list(lines)
    bad = next((number for number, _, is_utf8 in content if not is_utf8), None)
    text = "\n".join(line for _, line, _ in content)
    if bad is not None:
        yield Raw(text, name, "unreadable_utf8"), f"{name} line {bad}"
        return
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        yield Raw(text, name, "unreadable_json"), f"{name} line {error.lineno}"
        return
    if isinstance(value, dict) and read.text_field not in value:
        for key, record in value.items():
            yield _record(record, origin=f"{name}#{key}", read=read), f"{name} record {key!r}"
        return
    for index, record in enumerate(value if isinstance(value, list) else [value], start=1):
        yield _record(record, origin=name, read=read), f"{name} record {index}"


def _record(record: Any, *, origin: str, read: ReadConfig) -> Raw:
    text = record.get(read.text_field) if isinstance(record, dict) else None
    if not isinstance(text, str):
        return Raw(json.dumps(record, sort_keys=True), origin, "no_text_field")
    return Raw(text, origin)


def _txt(lines: Lines, *, name: str, read: ReadConfig) -> Found:
    paragraphs = _whole(lines) if read.split is Split.WHOLE else _paragraphs(lines)
    if read.split is not Split.SECTIONS:
        for text, number, is_utf8 in paragraphs:
            yield Raw(text, name, "" if is_utf8 else "unreadable_utf8"), f"{name} line {number}"
        return
    sections = _sections(paragraphs, heading=re.compile(read.heading or r"(?!)"), section_chars=read.section_chars)
    for part, (text, number, is_utf8) in enumerate(sections, start=1):
        problem = "" if is_utf8 else "unreadable_utf8"
        yield Raw(text, f"{name}#{part:04d}", problem), f"{name} line {number}"


Paragraph = tuple[str, int, bool]


def _whole(lines: Lines) -> Iterator[Paragraph]:
    content = list(lines)
    if content:
        bad = next((number for number, _, is_utf8 in content if not is_utf8), None)
        yield "\n".join(line for _, line, _ in content), bad or 1, bad is None


def _paragraphs(lines: Lines) -> Iterator[Paragraph]:
    """Runs of lines that are not blank: text, number of the first line (or of the first bad one), validity."""
    held: list[tuple[int, str, bool]] = []
    for line in lines:
        if line[1].strip():
            held.append(line)
        elif held:
            yield _join(held)
            held = []
    if held:
        yield _join(held)


def _join(lines: list[tuple[int, str, bool]]) -> Paragraph:
    bad = next((number for number, _, is_utf8 in lines if not is_utf8), None)
    return "\n".join(line for _, line, _ in lines), bad or lines[0][0], bad is None


def _sections(paragraphs: Iterator[Paragraph], *, heading: re.Pattern[str], section_chars: int) -> Iterator[Paragraph]:
    """Join paragraphs until the next heading or until the size is reached; headings in a row stay together."""
    held: list[Paragraph] = []
    chars, has_body = 0, False
    for paragraph in paragraphs:
        is_heading = heading.match(paragraph[0]) is not None
        if held and ((is_heading and has_body) or chars + len(paragraph[0]) > section_chars):
            yield _gather(held)
            held, chars, has_body = [], 0, False
        held.append(paragraph)
        chars += len(paragraph[0]) + 2
        has_body = has_body or not is_heading
    if held:
        yield _gather(held)


def _gather(paragraphs: list[Paragraph]) -> Paragraph:
    bad = next((number for _, number, is_utf8 in paragraphs if not is_utf8), None)
    return "\n\n".join(text for text, _, _ in paragraphs), bad or paragraphs[0][1], bad is None


def open_members(path: Path, read: ReadConfig) -> Iterator[tuple[str, IO[bytes]]]:
    """The chosen members of an archive as open files."""
    for name, content in read_members(path, read.members):
        yield name, io.BytesIO(content)
