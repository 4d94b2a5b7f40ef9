"""Documents and the shards that hold them.

A shard is a file of JSON lines, each the canonical JSON of `{"key", "origin", "source", "text"}`. The key is made of
the text alone, so equal texts have equal keys wherever they came from.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import DataError
from core.hashing import canonical_json, sha256_hex
from data.chat import contents_of

KEY_DIGITS = 32
FIELDS = ("key", "source", "text", "origin")


@dataclass(frozen=True, slots=True)
class Document:
    """One text: its key, the name of its source, the text, and where in the source it was found."""

    key: str
    source: str
    text: str
    origin: str

    @property
    def said(self) -> str:
        """What a model reads of it as plain text: the text, of a conversation what is said, turn by turn."""
        return contents_of(self.text)


def key_of(text: str) -> str:
    """The key of a text: the first 32 hex digits of the SHA-256 of its UTF-8 bytes."""
    return sha256_hex(text.encode())[:KEY_DIGITS]


def line_of(document: Document) -> bytes:
    """A document as one line of a shard, with its newline."""
    return canonical_json({field: getattr(document, field) for field in FIELDS}) + b"\n"


def read_documents(path: Path) -> Iterator[Document]:
    """Every document of a shard, in its order.

    Raises DataError naming the first line that is not a document or whose key is not that of its text.
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                yield _document(line, where=f"{path} line {number}")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; make the document shards again") from error


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Write documents to a new shard, in the order given."""
    with path.open("xb") as stream:
        stream.writelines(line_of(document) for document in documents)


def _document(line: bytes, *, where: str) -> Document:
    try:
        record = json.loads(line)
        document = Document(**record)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where} is not a document with {', '.join(FIELDS)}: {error}; make the shard again") from error
    return check_document(document, where=where)


def check_document(document: Document, *, where: str) -> Document:
    """Return the document. Raises DataError if a field is not text or the key is not that of the text."""
    strange = [field for field in FIELDS if not isinstance(getattr(document, field), str)]
    if strange:
        raise DataError(f"{where}: field {strange[0]} is {getattr(document, strange[0])!r}, not text; make it text")
    try:
        key = key_of(document.text)
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: the text holds a lone surrogate; clean the document again") from error
    if key != document.key:
        raise DataError(f"{where} has key {document.key}, but its text has key {key}; the text was changed")
    return document
