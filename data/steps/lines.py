"""Lines or paragraphs that stand in many documents: menus, licences, signatures. All but the first are taken out.

After C4 (Raffel et al. 2020, JMLR 21:140, section 2.2: all but one of any repeated span) and CCNet (Wenzek et al. 2020,
arXiv:1911.00359: paragraphs by hash). Where we differ: a part counts once a document, it must stand in at least
`min_documents`, and the document that keeps it is the first by (source in the recipe's order, key), so that neither
order nor sharding changes a byte. Case, digits and inner white space count: only what is exactly equal repeats. A
document that keeps a part may itself be dropped by a later step; then the part is gone.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import xxhash

from core.errors import ConfigError
from data.documents import Document


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


def without_repeated(documents: Sequence[Document], *, order: Sequence[str], config: LinesConfig) -> dict[str, str]:
    """The texts that lose something, by key: what is left of them, in normal form; it may be empty.

    Keys of `documents` must differ; `order` is that of the sources, the first has precedence.
    """
    rank = {name: index for index, name in enumerate(order)}
    counts: Counter[int] = Counter()
    for document in documents:
        counts.update({number for _, number in _parts(document.text, config) if number is not None})
    seen: set[int] = set()
    changed = {}
    for document in sorted(documents, key=lambda one: (rank[one.source], one.key)):
        kept, mine = [], set()
        for part, number in _parts(document.text, config):
            is_common = number is not None and counts[number] >= config.min_documents
            if number is None or not is_common or number not in seen:
                kept.append(part)
            if number is not None and is_common:
                mine.add(number)
        seen |= mine
        text = SEPARATORS[config.part].join(kept)
        if text != document.text:
            changed[document.key] = text
    return changed


def _parts(text: str, config: LinesConfig) -> list[tuple[str, int | None]]:
    """The parts of a text and the hash of each that is long enough to be compared."""
    parts = text.split(SEPARATORS[config.part])
    return [(part, _hash(part) if len(part.strip()) >= config.min_chars else None) for part in parts]


def _hash(part: str) -> int:
    # 128 bits: two different parts never meet, so a hash stands for its part.
    return xxhash.xxh3_128_intdigest(part.strip().encode())
