"""Sections as one HTML file that needs nothing else: no network, no script, light and dark, figures as inline SVG.

Every text goes through the template's escaping; the page's own policy (Content-Security-Policy) forbids scripts and
loads besides.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from data.inspection.blocks import BYTES, EDGES, Block, Figure, Histogram, Section

TEMPLATE = "page.html"
WIDTH, HEIGHT = 320, 110
AXIS_LABELS = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a drawn histogram, in the units of the drawing, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    says: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A histogram ready to be written as SVG: bars, labels of the axis as (x, text), and what it says in words."""

    title: str
    bars: Sequence[Bar]
    labels: Sequence[tuple[float, str]]
    says: str


def render(title: str, sections: Sequence[Section]) -> bytes:
    """The page as UTF-8."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(draw=draw, kind_of=_kind_of, width=WIDTH, height=HEIGHT)
    page = environment.get_template(TEMPLATE).render(title=title, sections=sections)
    return page.encode()


def _kind_of(block: Block) -> str:
    return type(block).__name__


def draw(figure: Figure) -> Iterator[Drawing]:
    """The histograms of a figure over one common range of values, each with its own height."""
    bins = sorted({place for histogram in figure.histograms for place in histogram.counts})
    if not bins:
        return
    places = range(bins[0], bins[-1] + 1)
    every = -(-len(places) // AXIS_LABELS)
    wide = WIDTH / len(places)
    labels = [(index * wide, _edge(place, figure.unit)) for index, place in enumerate(places)][::every]
    for histogram in figure.histograms:
        if histogram.counts:
            bars = list(_bars(histogram.counts, places, wide, figure))
            yield Drawing(histogram.title, bars, labels, _describe(histogram, figure))


def _bars(counts: Mapping[int, int], places: range, wide: float, figure: Figure) -> Iterator[Bar]:
    most = max(counts.values())
    for index, place in enumerate(places):
        if count := counts.get(place, 0):
            # A single document among millions must still be seen.
            high = max(2.0, round(HEIGHT * count / most, 1))
            says = f"{_range(place, figure.unit)}: {count:,} {figure.of}"
            yield Bar(round(index * wide + 0.5, 1), round(HEIGHT - high, 1), round(wide - 1, 1), high, says)


def _edge(place: int, unit: str) -> str:
    """The least value of a bin, as an axis has room for it."""
    value = EDGES[place]
    if unit != BYTES:
        return f"{value:,}"
    for power, prefix in ((40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if value >= 1 << power:
            return f"{value / (1 << power):g} {prefix}{BYTES}"
    return f"{value} {BYTES}"


def _range(place: int, unit: str) -> str:
    says = f"{_edge(place, unit)} to below {_edge(place + 1, unit)}"
    return says if unit == BYTES else f"{says} {unit}"


def _describe(histogram: Histogram, figure: Figure) -> str:
    total = sum(histogram.counts.values())
    top = max(histogram.counts, key=lambda place: (histogram.counts[place], place))
    share = histogram.counts[top] / total
    return f"{total:,} {figure.of}; most ({share:.0%}) have {_range(top, figure.unit)}"
