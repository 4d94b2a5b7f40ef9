"""What a page is made of: sections of tables, histograms, texts and remarks. No markup here; page.py knows it."""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

SHOWN_CHARS = 1200
BYTES = "B"
# Shown as they are, they would turn what stands around them or not be seen at all: the page would lie.
HIDDEN = frozenset("\u061c\u200b\u200e\u200f\u2028\u2029\u2060\ufeff")
# Two bins an octave: 0, 1, 2, 3, 4, 6, 8, 12, 16, ...
EDGES = [0, 1, *(start << power for power in range(60) for start in (2, 3))]
PICTURES = {**{code: 0x2400 + code for code in range(0x20)}, 0x7F: 0x2421}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: what it says, the part of a whole (0 to 1) that a bar shows, and whether it is a number."""

    text: str
    share: float = 0.0
    is_number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under named columns; those behind the first `shown` are folded away."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    shown: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of values by the place of their bin, as `bin_of` gives it; the axes of one figure are alike."""

    title: str
    counts: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Histograms side by side over one range of values; `unit` is that of the values, `of` what is counted."""

    title: str
    histograms: Sequence[Histogram]
    unit: str
    of: str = "documents"


@dataclass(frozen=True, slots=True)
class Run:
    """Characters in a row: as they are, or the names of some that cannot be seen; `parity` colours neighbours apart."""

    text: str
    is_mark: bool = False
    parity: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A text: where it is from, what is said of it, its beginning in runs, and how many characters are left out."""

    origin: Sequence[Run]
    facts: str
    runs: Sequence[Run]
    left_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Texts under a title."""

    title: str
    samples: Sequence[Sample]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence to the reader."""

    text: str


Block = Table | Figure | Samples | Remark


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What there is to see of one stage."""

    stage: str
    artifact: str
    digest: str
    came_in: str
    went_out: str
    blocks: list[Block] = field(default_factory=list)


def bin_of(value: int) -> int:
    """The place of the bin that holds a value: EDGES[place] is its least."""
    return bisect_right(EDGES, value) - 1


def number(value: int) -> Cell:
    """A number as a cell."""
    return Cell(f"{value:,}", is_number=True)


def part(value: int, whole: int) -> Cell:
    """A number with its share of a whole."""
    share = value / whole if whole else 0.0
    says = "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"
    return Cell(f"{value:,} · {says}", share=share, is_number=True)


def size(count_bytes: int) -> Cell:
    """Bytes as a cell, in decimal units."""
    return Cell(say_bytes(count_bytes), is_number=True)


def say_bytes(count_bytes: int) -> str:
    """Bytes in the decimal unit that leaves one to three digits before the point."""
    value, units = float(count_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def spread(counts: Mapping[str, int]) -> Cell:
    """Counts by name in one cell, the largest first."""
    listed = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return Cell(", ".join(f"{name} {count:,}" for name, count in listed))


def sample(text: str, *, origin: str, facts: str, chars: int = SHOWN_CHARS) -> Sample:
    """The beginning of a text, with characters named that cannot be seen or would turn the page around."""
    left_out = max(0, len(text) - chars)
    return Sample(origin=list(visible(origin)), facts=facts, runs=list(visible(text[:chars])), left_out=left_out)


def visible(text: str, *, parity: int = -1) -> Iterator[Run]:
    """A text in runs, none of which holds a character that has no glyph, or a direction, of its own."""
    for is_mark, group in groupby(text, key=_is_unseen):
        characters = "".join(group)
        yield Run("".join(map(_name, characters)) if is_mark else characters, is_mark, parity)


def _is_unseen(char: str) -> bool:
    if char in "\n\t":
        return False
    return (
        char in HIDDEN
        or unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn")
        or unicodedata.bidirectional(char) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    )


def _name(char: str) -> str:
    return chr(PICTURES[ord(char)]) if ord(char) in PICTURES else f"⟨U+{ord(char):04X}⟩"
