"""First phase: read the sources, bring every document into its normal form, and decide on it by its text alone.

The unit of work is a part: some small files of a source, or a share of the documents of a large one, which every task
of that file reads to take each n-th document. Parts follow from the sizes of the files and from `clean.part_bytes`, so
workers leave no trace in them. A task holds one document, what reading its file holds (of an archive the members that
are wanted), and what waits to be written to its buckets.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from data.chat import Form
from data.cleanconfig import CleanConfig
from data.cleaning.buckets import BucketWriter, bucket_of
from data.cleaning.chats import judge_chat
from data.cleaning.rows import Row, encode
from data.engine import Step
from data.reading.extract import Format, Raw, format_of, open_members, raw_documents
from data.report import Balance, Sieve, write_counts
from data.sources.fetch import Source
from data.steps.filters import drop_reason
from data.steps.gopher import quality_reason, repetition_reason
from data.steps.language import identify, language_reason
from data.steps.normalize import normalize
from data.steps.pii import count_placeholders, mask
from data.steps.repair import repair
from data.steps.signals import Signals
from data.steps.web import c4_lines, fineweb_reason

# Each such file is one document, so one that is another task's need not be read.
PAGES = (Format.HTML, Format.XML)


@dataclass(frozen=True, slots=True)
class Part:
    """Of the files `first` to `last`, exclusive, of a source every document whose number is `share` modulo `shares`."""

    source: int
    first: int
    last: int
    share: int = 0
    shares: int = 1


def buckets_for(sources: list[Source], config: CleanConfig) -> int:
    """How many buckets there are: a small corpus needs few, and every task of every phase costs some time."""
    found_bytes = sum(path.stat().st_size for source in sources for _, path in source.files)
    return min(config.shards, max(1, -(-found_bytes // config.part_bytes)))


def parts_of(sources: list[Source], *, part_bytes: int) -> list[Part]:
    """Cut the files of all sources into parts of about as many bytes."""
    return [part for index, source in enumerate(sources) for part in _parts(index, source, part_bytes)]


def _parts(index: int, source: Source, part_bytes: int) -> Iterator[Part]:
    first, held = 0, 0
    for number, (name, path) in enumerate(source.files):
        size = path.stat().st_size
        shares = -(-size // part_bytes) if _is_shared(source, name) else 1
        if number > first and held + size > part_bytes:
            yield Part(index, first, number)
            first, held = number, 0
        if shares > 1:
            yield from (Part(index, number, number + 1, share, shares) for share in range(shares))
            first = number + 1
        else:
            held += size
    if first < len(source.files):
        yield Part(index, first, len(source.files))


def _is_shared(source: Source, name: str) -> bool:
    """Whether several tasks may read a file; of a WARC each would extract all pages, which is most of the work."""
    return source.is_archive or format_of(name, source.read.format)[0] is not Format.WARC


def read_part(source: Source, part: Part) -> Iterator[Raw]:
    """The raw documents of a part."""
    for name, path in source.files[part.first : part.last]:
        numbered = enumerate(_read_file(source, name, path, part))
        yield from (raw for number, raw in numbered if raw and number % part.shares == part.share)


def _read_file(source: Source, name: str, path: Path, part: Part) -> Iterator[Raw | None]:
    """Every document of a file, or None for one that need not be read because it is not the part's."""
    if not source.is_archive:
        with path.open("rb") as stream:
            yield from raw_documents(stream, name=name, read=source.read)
        return
    number = 0
    for member, content in open_members(path, source.read):
        is_page = format_of(member, source.read.format)[0] in PAGES
        if is_page and number % part.shares != part.share:
            number += 1
            yield None
        else:
            for raw in raw_documents(content, name=member, read=source.read):
                number += 1
                yield raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge(Step):
    """Writes the rows of a part to the buckets of their keys."""

    name: ClassVar[str] = "judge"
    sources: list[Source]
    parts: list[Part]
    config: CleanConfig
    buckets: int
    is_text_kept: bool

    def run(self, task: int, out: Path) -> None:
        """Judge the documents of part `task`."""
        part = self.parts[task]
        source = self.sources[part.source]
        balance = Balance()
        flow = balance.flow(Sieve.JUDGE)
        with BucketWriter(out, buckets=self.buckets) as buckets:
            for raw in read_part(source, part):
                balance.came_in.add(len(encode(raw.text)))
                if source.read.form is Form.TEXT or raw.problem:
                    row = judge(source.name, raw, config=self.config)
                else:
                    row = judge_chat(source.name, raw, source.read.form, config=self.config)
                flow.add(row.found_bytes, row.size, reason=row.reason)
                if row.reason:
                    row = row.dropped(row.reason, is_text_kept=self.is_text_kept)
                buckets.add(bucket_of(row.key, self.buckets), row.line())
        write_counts(out, {source.name: balance})


def judge(source: str, raw: Raw, *, config: CleanConfig) -> Row:
    """Bring one raw document of a source into the form in which it would be written, and decide on it by its text."""
    normal = normalize(repair(raw.text, config.repair))
    text, masked = mask(normal, config.mask)
    reason, language = raw.problem, ""
    if not reason and config.c4.is_on:
        text, reason = c4_lines(text, config.c4)
        text = normalize(text)
        masked = count_placeholders(text, masked)
    reason = reason or text_reason(text, config)
    if not reason and config.language.expected:
        language = identify(text, config.language)
        reason = language_reason(language, source=source, config=config.language)
    return Row.judged(text, source=source, raw=raw, normal=normal, reason=reason, masked=masked, language=language)


def text_reason(text: str, config: CleanConfig) -> str:
    """Why the filters, or the rules that are on, drop a text; empty if they do not."""
    reason = drop_reason(text, config.filters)
    if reason:
        return reason
    signals = Signals(text)  # what one rule measures the others use
    reason = repetition_reason(signals, config.repetition) if config.repetition.is_on else ""
    reason = reason or (quality_reason(signals, config.quality) if config.quality.is_on else "")
    return reason or (fineweb_reason(signals, config.fineweb) if config.fineweb.is_on else "")
