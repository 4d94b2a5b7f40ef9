"""Holds our rules of Gopher, C4 and FineWeb against datatrove's on thousands of real documents of eight languages.

`python -m benchmarks.parity [DOCUMENTS]` fetches benchmarks/corpus.yaml, takes the pages of the handbook, some chapters
of the book and so many texts of the other sources (2,400 if not said). It prints for each set of rules how many
documents agree and the computed cause of every disagreement, and exits with 1 if one is unexplained. It takes five
minutes of processor time; tests/data/test_parity.py does the same with 600 documents. Chinese needs jieba
(benchmarks/requirements.txt) and is left out without it.
"""

import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec

from benchmarks.corpus import fetch
from core.progress import Progress
from tests.data.parity import LANGUAGES, Comparison, Text, compare

PAGES = {"handbook": 10_000, "anarchism": 20}


def main() -> int:
    """Run the comparison and print it."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 2400
    known = [language for language in LANGUAGES if language != "zh" or find_spec("jieba")]
    texts = chosen(fetch(), wanted)
    able = [one for one in texts if one.language in known]
    left_out = sorted({one.language for one in texts} - set(known))
    sys.stdout.write(f"{len(able)} documents in {', '.join(known)}; left out, for want of a tokenizer: {left_out}\n")
    progress = Progress("parity", total=len(able), unit="documents")
    found = compare(progressing(able, progress))
    for name, comparison in found.items():
        sys.stdout.write(report(name, comparison))
    return int(any(comparison.unexplained for comparison in found.values()))


def progressing(texts: Iterable[Text], progress: Progress) -> Iterator[Text]:
    """The texts, while the progress is shown."""
    for text in texts:
        yield text
        progress.advance()


def chosen(sources: dict[str, list[Text]], wanted: int) -> list[Text]:
    """Pages, and of every other source an equal share of the texts that are wanted."""
    share = wanted // len(sources.keys() - PAGES.keys())
    return [one for name, texts in sources.items() for one in texts[: PAGES.get(name, share)]]


def report(name: str, comparison: Comparison) -> str:
    """The outcome of one set of rules as lines of text."""
    lines = [f"{name}: {comparison.agree} agree, datatrove drops {comparison.dropped_by_datatrove}"]
    lines += [f"{count:8d}  {' + '.join(causes)}" for causes, count in comparison.causes.most_common()]
    lines += [f"    UNEXPLAINED  {what}" for what in comparison.unexplained]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
