"""Cuts what is in files and in members of archives into raw documents, by their format.

Text formats are txt, jsonl, json, yaml, csv and tsv; pages are html, xhtml and other xml; parquet is a table; a warc is
a crawl, of which every page is a document. Each may be compressed (data/reading/compression.py).
"""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO, Any

from core.config import added
from core.errors import ConfigError, DataError
from data.chat import Form, text_of
from data.reading.archive import read_members
from data.reading.chats import check_names, fields_of, read_messages
from data.reading.compression import bare_name, plain_blocks, too_large, whole_content
from data.reading.html import decode_page, is_page, is_selector, page_text, xml_text
from data.reading.jsonvalue import read_json, read_yaml
from data.reading.paragraphs import paragraphs, sections, whole
from data.reading.tables import Row, csv_rows, parquet_rows
from data.reading.warc import read_record, records


class Format(Enum):
    """What a file holds; AUTO goes by its name, behind which the ending of a compression may stand."""

    AUTO = "auto"
    TXT = "txt"
    JSONL = "jsonl"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"
    HTML = "html"
    XML = "xml"
    WARC = "warc"


# What holds records with fields: a conversation is one of these.
RECORDS = (Format.JSONL, Format.JSON, Format.YAML, Format.CSV, Format.TSV, Format.PARQUET)
ENDINGS = {
    ".txt": Format.TXT,
    ".jsonl": Format.JSONL,
    ".json": Format.JSON,
    ".yaml": Format.YAML,
    ".yml": Format.YAML,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".parquet": Format.PARQUET,
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".xhtml": Format.HTML,
    ".xht": Format.HTML,
    ".xml": Format.XML,
    ".warc": Format.WARC,
}


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
    excluded         globs of members that are not read although `members` names them
    text_field       the field of a JSON record, or the column of a table, that holds the text
    heading          sections only: a paragraph that begins with a match of this pattern starts a new document
    section_chars    sections only: a document that would grow beyond this is closed at the paragraph before
    is_boilerplate_removed  pages only: leave out what looks like navigation, headers and footers
    left_out         elements whose text is left out: of pages by CSS selectors, of other XML by their names
    form             what a record is: text, or a conversation or pair (data/reading/chats.py, as are the next two)
    columns          the names that a record gives to what we call messages, role, content, prompt and so on
    roles            the roles that it has in other words than ours, for example {human: user, gpt: assistant}
    records          json and yaml only: the field of the file that holds the list of records
    max_record_bytes        the most that a line, a paragraph, or a file that is read as a whole may have when it is
                            unpacked; more stops the stage before it fills the memory
    """

    members: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    format: Format = Format.AUTO
    text_field: str = "text"
    split: Split = Split.PARAGRAPHS
    heading: str = ""
    section_chars: int = 4000
    is_boilerplate_removed: bool = False
    left_out: list[str] = field(default_factory=list)
    on_error: OnError = OnError.STOP
    form: Form = added(Form.TEXT)
    columns: dict[str, str] = added(dict)
    roles: dict[str, str] = added(dict)
    records: str = added("")
    max_record_bytes: int = 1 << 28

    def __post_init__(self) -> None:
        try:
            re.compile(self.heading)
        except re.error as error:
            raise ConfigError(
                f"read.heading {self.heading!r} is not a pattern: {error}; write it as for re.match"
            ) from error
        strange = [selector for selector in self.left_out if not is_selector(selector)]
        if strange:
            raise ConfigError(f"read.left_out {strange[0]!r} is no CSS selector or element name; write it as one")
        for name in ("section_chars", "max_record_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"read.{name} is {getattr(self, name)}; give at least 1")
        check_names(self.form, columns=self.columns, roles=self.roles)

    @property
    def fields(self) -> list[str]:
        """The fields of a record, or columns of a table, that are read."""
        return [self.text_field] if self.form is Form.TEXT else fields_of(self.form, self.columns)


@dataclass(frozen=True, slots=True)
class Raw:
    """A raw document: its text as found, where it was found, and the reason why it is unreadable (else empty)."""

    text: str
    origin: str
    problem: str = ""


def raw_documents(stream: IO[bytes], *, name: str, read: ReadConfig) -> Iterator[Raw]:
    """Cut an open file into raw documents; `name` is its name in origins and messages, and tells its format.

    Raises DataError naming file and line for damaged compression, what is too large to be read, invalid UTF-8, bad
    JSON and a record without text; the last three only if `read.on_error` is STOP.
    """
    kind, bare = format_of(name, read.format)
    for raw, where in _found(stream, kind, name=name, bare=bare, read=read):
        if raw.problem and read.on_error is OnError.STOP:
            raise DataError(
                f"{where} is unreadable ({raw.problem}); mend it, or drop and count such records: read.on_error=drop"
            )
        yield raw


def _found(stream: IO[bytes], kind: Format, *, name: str, bare: str, read: ReadConfig) -> "Found":
    if read.form is not Form.TEXT and kind not in RECORDS:
        raise DataError(f"{name} holds no records, so no {read.form.value}; take read.form=text, or another file")
    if kind is Format.PARQUET:
        table = stream if bare == name and stream.seekable() else io.BytesIO(_whole_file(stream, name, read))
        return _rows(parquet_rows(table, name=bare, columns=read.fields), origin=bare, read=read)
    if kind is Format.WARC:
        return _warc(stream, name=name, bare=bare, read=read)
    if kind in (Format.HTML, Format.XML):
        return iter([_page(_whole_file(stream, name, read), kind, name=bare, read=read)])
    lines = _lines(plain_blocks(stream, name), name=bare, most_bytes=read.max_record_bytes)
    if kind in (Format.CSV, Format.TSV):
        delimiter = "," if kind is Format.CSV else "\t"
        most = read.max_record_bytes
        rows = csv_rows(lines, name=bare, columns=read.fields, delimiter=delimiter, most_chars=most)
        return _rows(rows, origin=bare, read=read)
    if kind is Format.JSONL:
        return _jsonl(lines, name=bare, read=read)
    if kind in (Format.JSON, Format.YAML):
        return _json(lines, kind, name=bare, read=read)
    return _txt(lines, name=bare, read=read)


def format_of(name: str, asked: Format) -> tuple[Format, str]:
    """The format of a file and its name without the ending of a compression. Raises DataError if it is unknown."""
    bare = bare_name(name)
    if asked is not Format.AUTO:
        return asked, bare
    ending = Path(bare).suffix.lower()
    if ending not in ENDINGS:
        known = ", ".join(ENDINGS)
        raise DataError(f"{name} does not end in {known} (or these with .gz, .zst, .bz2, .xz); set read.format")
    return ENDINGS[ending], bare


def _whole_file(stream: IO[bytes], name: str, read: ReadConfig) -> bytes:
    return whole_content(plain_blocks(stream, name), name=name, most_bytes=read.max_record_bytes)


def _page(content: bytes, kind: Format, *, name: str, read: ReadConfig) -> tuple[Raw, str]:
    if kind is Format.XML and not is_page(content):
        text = xml_text(content, left_out=read.left_out)
        problem = "" if text is not None else "unreadable_xml"
        return Raw(content.decode(errors="replace") if text is None else text, name, problem), name
    return read_page(content, origin=name, read=read), name


def read_page(content: bytes, *, origin: str, read: ReadConfig, served_as: str = "") -> Raw:
    """The text of an HTML or XHTML page as a raw document; `served_as` is the encoding that a server named."""
    page = decode_page(content, served_as=served_as)
    if page is None:
        return Raw(content.decode(errors="replace"), origin, "unreadable_encoding")
    text = page_text(page, is_boilerplate_removed=read.is_boilerplate_removed, left_out=read.left_out)
    return Raw(page, origin, "unreadable_nesting") if text is None else Raw(text, origin)


def _warc(stream: IO[bytes], *, name: str, bare: str, read: ReadConfig) -> "Found":
    for record in records(stream, name=name):
        found = read_record(record)
        if found.content is None:
            continue
        origin = f"{bare}#{record.uri}"
        if found.problem or found.is_plain:
            text, is_utf8 = _text(found.content)
            raw = Raw(text, origin, found.problem or ("" if is_utf8 else "unreadable_utf8"))
        else:
            raw = read_page(found.content, origin=origin, read=read, served_as=found.served_as)
        yield raw, f"{bare} record {record.number} ({record.uri})"


def _text(content: bytes) -> tuple[str, bool]:
    try:
        return content.decode(), True
    except UnicodeDecodeError:
        return content.decode(errors="replace"), False


def _rows(rows: Iterator[Row], *, origin: str, read: ReadConfig) -> "Found":
    for record, where, problem in rows:
        if isinstance(record, str):
            yield Raw(record, origin, problem), where
        else:
            yield _record(record, origin=origin, read=read), where


def _lines(blocks: Iterator[bytes], *, name: str, most_bytes: int) -> Iterator[tuple[int, str, bool]]:
    """Number, text without newline, and whether it was valid UTF-8, of every line; a byte order mark is left out."""
    held: list[bytes] = []  # parts of a line that is not at its end: joining them at every block would be quadratic
    size, number = 0, 0
    for block in blocks:
        *whole, rest = block.split(b"\n")
        if whole:
            whole[0], held, size = b"".join([*held, whole[0]]), [], 0
        for line in whole:
            number += 1
            yield _decode(line, number)
        held.append(rest)
        size += len(rest)
        if size > most_bytes:
            raise DataError(too_large(f"{name} line {number + 1}", most_bytes))
    if size:
        yield _decode(b"".join(held), number + 1)


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
            record = read_json(line)
        except ValueError:
            yield Raw(line, name, "unreadable_json"), where
            continue
        yield _record(record, origin=name, read=read), where


def _json(lines: Lines, kind: Format, *, name: str, read: ReadConfig) -> Found:
    """A list of records, or an object of records by name, or one record; with `read.records` what that field holds."""
    text, number, is_utf8 = next(whole(lines, name=name, most_chars=read.max_record_bytes), ("", 1, True))
    if not is_utf8:
        yield Raw(text, name, "unreadable_utf8"), f"{name} line {number}"
        return
    try:
        value = read_yaml(text) if kind is Format.YAML else read_json(text)
        if read.records:
            value = value[read.records]
    except (ValueError, KeyError, TypeError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        yield Raw(text, name, f"unreadable_{kind.value}"), f"{name} line {line}"
        return
    if isinstance(value, dict) and not set(read.fields) & value.keys():
        for key, record in value.items():
            yield _record(record, origin=f"{name}#{key}", read=read), f"{name} record {key!r}"
        return
    for index, record in enumerate(value if isinstance(value, list) else [value], start=1):
        yield _record(record, origin=name, read=read), f"{name} record {index}"


def _record(record: Any, *, origin: str, read: ReadConfig) -> Raw:
    if read.form is not Form.TEXT:
        messages, problem = read_messages(record, read.form, columns=read.columns, roles=read.roles)
        return Raw(text_of(messages) or json.dumps(record, sort_keys=True, default=str), origin, problem)
    text = record.get(read.text_field) if isinstance(record, dict) else None
    if not isinstance(text, str):
        return Raw(json.dumps(record, sort_keys=True, default=str), origin, "no_text_field")
    return Raw(text, origin)


def _txt(lines: Lines, *, name: str, read: ReadConfig) -> Found:
    cut = whole if read.split is Split.WHOLE else paragraphs
    found = cut(lines, name=name, most_chars=read.max_record_bytes)
    if read.split is not Split.SECTIONS:
        for text, number, is_utf8 in found:
            yield Raw(text, name, "" if is_utf8 else "unreadable_utf8"), f"{name} line {number}"
        return
    joined = sections(found, heading=re.compile(read.heading or r"(?!)"), section_chars=read.section_chars)
    for part, (text, number, is_utf8) in enumerate(joined, start=1):
        problem = "" if is_utf8 else "unreadable_utf8"
        yield Raw(text, f"{name}#{part:04d}", problem), f"{name} line {number}"


def open_members(path: Path, read: ReadConfig) -> Iterator[tuple[str, IO[bytes]]]:
    """The chosen members of an archive as open files."""
    for name, content in read_members(path, read.members, excluded=read.excluded):
        yield name, io.BytesIO(content)
