"""A document between the phases of cleaning: as it would be written, and why it is dropped if it is.

A row is a line of two JSON values with a tab between them: a list of all that is decided on, and the text, which is
parsed only where it is looked at.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from core.hashing import canonical_json
from data.documents import Document, key_of
from data.reading.extract import Raw
from data.steps.normalize import normalize

DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near_duplicate"
TAKEN_DOWN = "taken_down"


@dataclass(frozen=True, slots=True)
class Row:
    """A document, or what is remembered of a dropped one.

    reason    why it is dropped; empty: it is not
    size      bytes of UTF-8 of its text as it would be written
    found_bytes, normalized_bytes  the same of the text as found, and of its normal form before any other change
    masked    how many placeholders of each kind stand for personal data
    language  where languages are told apart and it is not dropped before
    twin      the key of the document that stays for a near-duplicate
    encoded   the text as JSON; empty where the texts of dropped documents are not kept
    """

    key: str
    source: str
    origin: str
    reason: str
    size: int
    found_bytes: int
    normalized_bytes: int
    masked: dict[str, int] = field(default_factory=dict)
    language: str = ""
    twin: str = ""
    encoded: bytes = b""

    @classmethod
    def judged(
        cls, text: str, *, source: str, raw: Raw, normal: str, reason: str, masked: dict[str, int], language: str
    ) -> "Row":
        """The row of a document that was just judged; `normal` is its text's normal form before any other change."""
        return cls(
            key=key_of(text),
            source=source,
            origin=normalize(raw.origin),
            reason=reason,
            size=len(text.encode()),
            found_bytes=len(encode(raw.text)),
            normalized_bytes=len(normal.encode()),
            masked=masked,
            language=language,
            encoded=canonical_json(text),
        )

    @classmethod
    def parse(cls, line: bytes) -> "Row":
        """The row of a line."""
        head, _, encoded = line.partition(b"\t")
        return replace(cls(*json.loads(head)), encoded=encoded)

    @property
    def text(self) -> str:
        """The text; it must not have been left out."""
        return str(json.loads(self.encoded))

    @property
    def document(self) -> Document:
        """The row as a document that stays."""
        return Document(self.key, self.source, self.text, self.origin)

    def line(self) -> bytes:
        """The row as a line, with its newline."""
        head = [self.key, self.source, self.origin, self.reason, self.size, self.found_bytes, self.normalized_bytes]
        return canonical_json([*head, self.masked, self.language, self.twin]) + b"\t" + self.encoded + b"\n"

    def with_text(self, text: str, *, masked: dict[str, int]) -> "Row":
        """The row with another text, and so with another key, and with as many placeholders as it has."""
        return replace(self, key=key_of(text), size=len(text.encode()), masked=masked, encoded=canonical_json(text))

    def dropped(self, reason: str, *, is_text_kept: bool, twin: str = "") -> "Row":
        """The row of a document that is dropped; `is_text_kept` says whether its text is remembered."""
        return replace(self, reason=reason, twin=twin, encoded=self.encoded if is_text_kept else b"")


def encode(text: str) -> bytes:
    """UTF-8, lone surrogates included."""
    return text.encode("utf-8", errors="surrogatepass")


Precedence = tuple[str, int, str, str, int, int, list[tuple[str, int]]]


def precedence(order: Sequence[str]) -> Callable[[Row], Precedence]:
    """Where a row stands among all: by key, then by its source in `order`, then by origin and reason.

    The numbers come last: with them rows that differ at all never stand in the order of reading.
    """
    rank = {name: index for index, name in enumerate(order)}
    return lambda row: (
        row.key,
        rank[row.source],
        row.origin,
        row.reason,
        row.found_bytes,
        row.normalized_bytes,
        sorted(row.masked.items()),
    )
