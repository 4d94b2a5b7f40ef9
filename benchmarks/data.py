"""Documents and megabytes per second of one core, stage by stage, ours against peers in one run on the same documents.

`python -m benchmarks.data [DOCUMENTS [REPEATS [ONLY]]]` takes at most so many texts (1,000) of benchmarks/corpus.yaml,
and 100 of its web pages, and runs every stage in every tool so often (3 times), the tools in turn and in another order
each time. Time is that of the processor, so that other work on the machine matters less. A ratio is taken within each
repeat; the table has the median, and the smallest and largest in brackets. ONLY is a part of a stage's name.
Peers beyond our own packages: `pip install -r benchmarks/requirements.txt`, best into an environment of their own.
"""

import os
import platform
import statistics
import sys
import time
from itertools import accumulate

from benchmarks.corpus import fetch, fetched_folder
from benchmarks.stages import OURS, Runner, Stage, is_judged, page_stages, text_stages
from core.profile import cpu_field
from data.reading.extract import open_members
from data.sources.fetch import open_sources
from tests.data.crawl import http, packed, record
from tests.data.parity import Text

PAGES = 100
SOURCE_BYTES = 300_000
LEAST_S = 0.2


def main() -> None:
    """Run the benchmark and print its table in Markdown."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    wanted, repeats = (int(sys.argv[place]) if len(sys.argv) > place else value for place, value in ((1, 1000), (2, 3)))
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    texts, pages = chosen(fetch(), wanted), handbook_pages()
    archive = packed([record("response", f"http://a/{number}", http(page)) for number, page in enumerate(pages)])
    stages = [stage for stage in page_stages(pages, archive) + text_stages(texts) if only in stage.name]
    size = sum(len(one.text.encode()) for one in texts) / 1e6
    sys.stdout.write(
        f"{len(texts)} texts ({size:.1f} MB) and {len(pages)} pages ({sum(map(len, pages)) / 1e6:.1f} MB of HTML), "
        f"{repeats} repeats, {cpu_field('model name')}, Python {platform.python_version()}\n\n"
        "| stage | tool | documents/s | MB/s | ours is faster by |\n|---|---|---|---|---|\n"
    )
    for stage in stages:
        sys.stdout.write(table_rows(stage, timed(stage, repeats)))
        sys.stdout.flush()


def chosen(sources: dict[str, list[Text]], wanted: int) -> list[Text]:
    """An equal share of every source, but no more than SOURCE_BYTES of one."""
    share = wanted // len(sources)
    texts: list[Text] = []
    for mine in sources.values():
        sizes = accumulate(len(one.text.encode()) for one in mine)
        texts += [one for one, size in zip(mine[:share], sizes, strict=False) if size <= SOURCE_BYTES]
    return [one for one in texts if is_judged(one)]


def handbook_pages() -> list[bytes]:
    """Web pages as they were fetched, evenly from all languages."""
    source = next(one for one in open_sources(fetched_folder()) if one.name == "handbook")
    pages = [stream.read() for _, path in source.files for _, stream in open_members(path, source.read)]
    return pages[:: max(len(pages) // PAGES, 1)][:PAGES]


def timed(stage: Stage, repeats: int) -> dict[str, list[float]]:
    """Seconds for one pass over the items, by tool and repeat; a measurement has as many passes as it needs."""
    passes = {name: max(1, round(LEAST_S / max(seconds(run), 1e-6))) for name, run in stage.runners.items()}
    taken: dict[str, list[float]] = {name: [] for name in stage.runners}
    for repeat in range(repeats):
        for name in list(stage.runners)[:: -1 if repeat % 2 else 1]:
            taken[name].append(seconds(stage.runners[name], passes=passes[name]) / passes[name])
    return taken


def seconds(run: Runner, *, passes: int = 1) -> float:
    """Processor time that some passes take."""
    start = time.process_time()
    for _ in range(passes):
        run()
    return time.process_time() - start


def table_rows(stage: Stage, taken: dict[str, list[float]]) -> str:
    """The rows of one stage; a ratio is of two times of the same repeat."""
    rows = []
    for name, times in taken.items():
        middle = statistics.median(times)
        ratios = [their / our for their, our in zip(times, taken[OURS], strict=True)]
        spread = f"{short(statistics.median(ratios))} ({short(min(ratios))} to {short(max(ratios))})"
        speed = f"{short(stage.documents / middle)} | {short(stage.size / middle / 1e6)}"
        rows.append(f"| {stage.name} | {name} | {speed} | {'' if name == OURS else spread} |")
    rows += [f"| {stage.name} | {name} | not installed | | |" for name in stage.missing]
    return "".join(f"{row}\n" for row in rows)


def short(number: float) -> str:
    """A number with two or three figures that say something."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


if __name__ == "__main__":
    main()
