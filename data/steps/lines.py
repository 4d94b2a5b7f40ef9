"""Lines or paragraphs that stand in many documents: menus, licences, signatures. All but the first are taken out.

After C4 (Raffel et al. 2020, JMLR 21:140, section 2.2: all but one of any repeated span) and CCNet (Wenzek et al. 2020,
arXiv:1911.00359: paragraphs by hash). Where we differ: a part counts once a document, it must stand in at least
`min_documents`, and the document that keeps it is the first by (source in the order of precedence, key), so that
neither order nor sharding changes a byte (data/cleaning/repeated.py counts over the corpus). Case, digits and inner
white space count: only what is exactly equal repeats. A document that keeps a part may itself be dropped by a later
step; then the part is gone.
"""

from dataclasses import dataclass
from enum import Enum

import xxhash

from core.errors import ConfigError


class Part(Enum):
    """What is compared between documents."""

    LINES = "lines"
    PARAGRAPHS = "paragraphs"


SEPARATORS = {Part.LINES: "\n", Part.PARAGRAPHS: "\n\n"}


@dataclass(kw_only=True, slots=True)
class LinesConfig:
    """Field `lines` of section `clean`: takes out what stands in many documents, off unless `is_on`.

    part           lines, or paragraphs between blank lines
    min_documents  in how many documents a part must stand to be taken out
    min_chars      shorter parts stay wherever they are: a brace, a heading, a name
    """

    is_on: bool = False
    part: Part = Part.LINES
    min_documents: int = 3
    min_chars: int = 30

    def __post_init__(self) -> None:
        if self.min_documents < 2 or self.min_chars < 1:
            raise ConfigError(
                f"lines.min_documents is {self.min_documents} and min_chars {self.min_chars}; give at least 2 and 1"
            )


def hashes_of(text: str, config: LinesConfig) -> set[int]:
    """The hashes of the parts of a text that are long enough to be compared; 128 bits, so one stands for its part."""
    return {number for _, number in _parts(text, config) if number is not None}


def without(text: str, gone: set[int], config: LinesConfig) -> str:
    """What is left of a text without the parts of these hashes; it may be empty."""
    return SEPARATORS[config.part].join(part for part, number in _parts(text, config) if number not in gone)


def _parts(text: str, config: LinesConfig) -> list[tuple[str, int | None]]:
    parts = text.split(SEPARATORS[config.part])
    return [(part, _hash(part) if len(part.strip()) >= config.min_chars else None) for part in parts]


def _hash(part: str) -> int:
    return xxhash.xxh3_128_intdigest(part.strip().encode())
