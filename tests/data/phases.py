"""Phases of stage clean on a few documents, in this process."""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from core.hashing import canonical_json
from data.cleanconfig import CleanConfig
from data.cleaning.buckets import BucketWriter, bucket_of
from data.cleaning.contamination import SearchBenchmarks, WeighEvidence, read_contaminated, read_report
from data.cleaning.near import ChooseSurvivors, VerifyPairs, WriteBands, read_twins
from data.cleaning.repeated import CollectParts, FindRepeated, TakeOutLines
from data.cleaning.rows import Row
from data.cleaning.settle import Settle, read_dropped, read_kept
from data.documents import Document
from data.engine import Step
from data.report import Sieve
from data.steps.decontaminate import DecontaminationConfig
from data.steps.filters import FilterConfig
from data.steps.lines import LinesConfig
from data.steps.minhash import FuzzyConfig

NO_FILTER = FilterConfig(min_chars=0, min_words=0, max_symbol_frac=1, max_repeated_line_frac=1, max_digit_frac=1)


def row_of(document: Document) -> Row:
    """A document as the first phase would leave it."""
    size = len(document.text.encode())
    encoded = canonical_json(document.text)
    return Row(document.key, document.source, document.origin, "", size, size, size, encoded=encoded)


def do(step: Step, folder: Path, *, tasks: int) -> list[Path]:
    """Run all tasks of a phase in this process."""
    folders = [Path(mkdtemp(prefix=f"{task}-", dir=folder)) for task in range(tasks)]
    for task, out in enumerate(folders):
        step.run(task, out)
    return folders


def settle(documents: Sequence[Document], order: list[str], folder: Path, *, buckets: int) -> list[Path]:
    """The folders of documents that were settled."""
    place = Path(mkdtemp(dir=folder))
    with BucketWriter(place, buckets=buckets) as writer:
        for document in documents:
            writer.add(bucket_of(document.key, buckets), row_of(document).line())
    step = Settle(sieve=Sieve.EXACT, inputs=[place], settled=[], order=order, is_text_kept=False)
    return do(step, folder, tasks=buckets)


def near_duplicates(
    documents: Sequence[Document], order: list[str], config: FuzzyConfig, folder: Path, *, buckets: int = 3
) -> dict[str, str]:
    """The key of every near-duplicate that goes, with the key of what stays."""
    settled = settle(documents, order, folder, buckets=buckets)
    banded = do(WriteBands(settled=settled, order=order, config=config, buckets=buckets), folder, tasks=buckets)
    verified = do(VerifyPairs(banded=banded, config=config), folder, tasks=buckets)
    twins = do(ChooseSurvivors(verified=verified, buckets=buckets), folder, tasks=1)
    return {key: twin for bucket in range(buckets) for key, twin in read_twins(twins, bucket).items()}


def shortened(
    documents: Sequence[Document], order: list[str], config: LinesConfig, folder: Path, *, buckets: int = 3
) -> dict[str, str]:
    """What is left of every document that loses lines, by its origin, which must be its own."""
    whole = CleanConfig(seed=1, heldout_permille=0, filters=NO_FILTER, lines=config)
    settled = settle(documents, order, folder, buckets=buckets)
    collected = do(CollectParts(settled=settled, order=order, config=config, buckets=buckets), folder, tasks=buckets)
    losses = do(FindRepeated(collected=collected, config=config, buckets=buckets), folder, tasks=buckets)
    step = TakeOutLines(settled=settled, losses=losses, order=order, config=whole, buckets=buckets, is_text_kept=True)
    again = Settle(
        sieve=Sieve.EXACT_AGAIN,
        inputs=do(step, folder, tasks=buckets),
        settled=settled,
        order=order,
        is_text_kept=True,
    )
    rows = [row for settled_again in do(again, folder, tasks=buckets) for row in rows_in(settled_again, order)]
    before = {document.origin: document.text for document in documents}
    assert sorted(row.origin for row in rows) == sorted(before)
    return {row.origin: row.text for row in rows if row.text != before[row.origin]}


def rows_in(settled: Path, order: list[str]) -> list[Row]:
    """Every row of a settled bucket, dropped or not."""
    return [*read_kept([settled], order), *map(Row.parse, read_dropped([settled], order))]


def contaminated(
    documents: Sequence[Document], config: DecontaminationConfig, folder: Path, *, buckets: int = 3
) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """The reason of every document that goes, by key, and what is reported of the benchmarks."""
    order = sorted({document.source for document in documents})
    settled = settle(documents, order, folder, buckets=buckets)
    search = SearchBenchmarks(settled=settled, twins=[], order=order, config=config)
    searched = do(search, folder, tasks=buckets)
    weighed = do(WeighEvidence(searched=searched, config=config, buckets=buckets), folder, tasks=1)
    found = {key: reason for bucket in range(buckets) for key, reason in read_contaminated(weighed, bucket).items()}
    report: dict[str, dict[str, int]] = json.loads(canonical_json(read_report(weighed)))
    return found, report
