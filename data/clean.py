"""Verb clean: raw documents in, document shards out.

Reads section `clean` and the artifact `fetch`. Every raw document is normalized and filtered, of equal texts one is
kept, and a keyed hash of the text decides whether it is held out. Writes `train/<source>-00000.jsonl` ...,
`heldout/<source>.jsonl`, `dropped.jsonl` (key, source and reason of every dropped document) and `report.json`.

Nothing depends on the order of reading or on the number of workers: a document is decided on by its text alone, of
equal texts the first by (source in the recipe's order, origin) survives, and what is written is sorted by key. What
came in is counted where it is read, what goes out in the written files, and the two must agree.

The corpus is held in memory; one that does not fit needs an external sort by key here.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from core.artifact import Facts, build, current, plan, verify_files
from core.cli import recipe_and_overrides
from core.config import RunConfig, identity, load, placement
from core.errors import ConfigError
from core.hashing import canonical_json
from core.progress import Progress
from core.seeds import derive_seed
from data.documents import Document, key_of, line_of, write_documents
from data.reading.extract import Raw, open_members, raw_documents
from data.report import DROPPED, HELDOUT, TRAIN, Balance, BenchmarkCounts, count_written, write_report
from data.sources.fetch import Source, open_sources
from data.steps.decontaminate import DecontaminationConfig, find_contaminated, read_benchmark
from data.steps.filters import FilterConfig, drop_reason
from data.steps.fuzzy import near_duplicates
from data.steps.gopher import QualityConfig, RepetitionConfig, quality_reason, repetition_reason
from data.steps.language import LanguageConfig, identify, language_reason, model_version
from data.steps.lines import LinesConfig, without_repeated
from data.steps.minhash import FuzzyConfig
from data.steps.normalize import normalize
from data.steps.pii import MaskConfig, count_placeholders, mask
from data.steps.signals import Signals
from data.steps.web import C4Config, FinewebConfig, c4_lines, fineweb_reason
from data.workers import mapping

STAGE = "clean"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near_duplicate"

Found = tuple[str, Raw]


@dataclass(kw_only=True, slots=True)
class CleanConfig:
    """Section `clean`.

    heldout_permille  how many of 1000 documents are held out, on average; the seed decides which
    shard_documents, shard_bytes  a training shard is closed before it would hold more than either
    """

    seed: int
    heldout_permille: int
    filters: FilterConfig = field(default_factory=FilterConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    c4: C4Config = field(default_factory=C4Config)
    repetition: RepetitionConfig = field(default_factory=RepetitionConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    fineweb: FinewebConfig = field(default_factory=FinewebConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    lines: LinesConfig = field(default_factory=LinesConfig)
    fuzzy: FuzzyConfig = field(default_factory=FuzzyConfig)
    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)
    shard_documents: int = 10_000
    shard_bytes: int = 64 << 20
    workers: int = placement(1)

    def __post_init__(self) -> None:
        if not 0 <= self.heldout_permille < 1000:
            raise ConfigError(f"clean.heldout_permille is {self.heldout_permille}; give 0 to 999")
        for name in ("shard_documents", "shard_bytes", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"clean.{name} is {getattr(self, name)}; give at least 1")


@dataclass(frozen=True, slots=True)
class Judged:
    """A document as it would be written, and why it is dropped (empty: it is not).

    found_bytes, normalized_bytes  UTF-8 of the text as found, and of its normal form before any other change
    masked    how many placeholders of each kind stand for personal data
    language  of a document that is not dropped before, where languages are told apart
    twin      the key of the document that stays for a near-duplicate
    """

    document: Document
    found_bytes: int
    normalized_bytes: int
    reason: str
    masked: dict[str, int]
    language: str = ""
    twin: str = ""


def main(arguments: list[str]) -> None:
    """Run the verb: make or find the clean artifact and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data clean")
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "clean", CleanConfig, overrides)
    fetched = current(run.inputs_folder, "fetch")
    verify_files(fetched)
    decided = identity(config) | ({"language_model": model_version()} if config.language.expected else {})
    wanted = plan(STAGE, folder="data", out=run.out_folder, config=decided, inputs={"fetch": fetched})
    artifact = build(wanted, partial(write, fetched=fetched.folder, config=config))
    sys.stdout.write(f"{artifact.folder}\n")


def write(aside: Path, *, fetched: Path, config: CleanConfig) -> Facts:
    """Fill the artifact's folder and return its facts. Raises DataError if a source has nothing left."""
    sources = open_sources(fetched)
    order = [source.name for source in sources]
    check_inputs(config, order)
    found = [(source.name, raw) for source in sources for raw in read_source(source)]
    settled = settle(judge_all(found, config), order=order)
    if config.lines.is_on:
        settled = settle(take_out_lines(settled, order=order, config=config), order=order)
    if config.fuzzy.is_on:
        settled = drop_near_duplicates(settled, order=order, config=config)
    settled, benchmarks = drop_contaminated(settled, config)
    for name in order:
        kept = [one.document for one in settled if one.document.source == name and not one.reason]
        write_source(aside, kept, source=name, config=config)
    write_dropped(aside / DROPPED, [one for one in settled if one.reason])
    balances = balance(aside, order=order, found=found, settled=settled)
    return write_report(aside, balances, benchmarks=benchmarks)


def check_inputs(config: CleanConfig, order: list[str]) -> None:
    """Refuse languages for a source that does not exist, and evaluation sets that are not there, before the work."""
    for benchmark in config.decontamination.benchmarks:
        read_benchmark(benchmark, config.decontamination)
    strange = sorted(config.language.expected.keys() - set(order))
    if strange:
        raise ConfigError(
            f"clean.language.expected has {strange[0]}, which is no source; the sources are {', '.join(order)}"
        )


def balance(aside: Path, *, order: list[str], found: list[Found], settled: list[Judged]) -> dict[str, Balance]:
    """Count what came in where it was read, and what went out in the written files."""
    balances = {name: Balance() for name in order}
    for source, raw in found:
        balances[source].came_in.add(len(encode(raw.text)))
    for one in settled:
        size = len(one.document.text.encode())
        mine = balances[one.document.source]
        mine.normalized_away_bytes += one.found_bytes - one.normalized_bytes
        mine.edited_away_bytes += one.normalized_bytes - size
        mine.dropped.bytes += size if one.reason else 0
        mine.masked.update({} if one.reason else one.masked)
        mine.languages.update([] if one.reason or not one.language else [one.language])
    count_written(aside, balances)
    return balances


def encode(text: str) -> bytes:
    """UTF-8, lone surrogates included."""
    return text.encode("utf-8", errors="surrogatepass")


def read_source(source: Source) -> Iterator[Raw]:
    """Every raw document of a source."""
    for name, path in source.files:
        if source.is_archive:
            for member, stream in open_members(path, source.read):
                yield from raw_documents(stream, name=member, read=source.read)
        else:
            with path.open("rb") as stream:
                yield from raw_documents(stream, name=name, read=source.read)


def judge(found: Found, *, config: CleanConfig) -> Judged:
    """Bring one raw document of a source into the form in which it would be written, and decide on it by its text."""
    source, raw = found
    normal = normalize(raw.text)
    text, masked = mask(normal, config.mask)
    reason, language = raw.problem, ""
    if not reason and config.c4.is_on:
        text, reason = c4_lines(text, config.c4)
        text = normalize(text)
    reason = reason or drop_reason(text, config.filters) or rule_reason(Signals(text), config)
    if not reason and config.language.expected:
        language = identify(text, config.language)
        reason = language_reason(language, source=source, config=config.language)
    return Judged(
        document=Document(key_of(text), source, text, normalize(raw.origin)),
        found_bytes=len(encode(raw.text)),
        normalized_bytes=len(normal.encode()),
        reason=reason,
        masked=masked,
        language=language,
    )


def rule_reason(signals: Signals, config: CleanConfig) -> str:
    """Why the rules that are on drop a text; empty if they do not. What one measures the others use."""
    reason = repetition_reason(signals, config.repetition) if config.repetition.is_on else ""
    reason = reason or (quality_reason(signals, config.quality) if config.quality.is_on else "")
    return reason or (fineweb_reason(signals, config.fineweb) if config.fineweb.is_on else "")


def judge_all(found: list[Found], config: CleanConfig) -> list[Judged]:
    """Judge every raw document, in as many processes as asked for."""
    progress = Progress("clean", total=len(found), unit="documents")
    act = partial(judge, config=config)
    judged = []
    with mapping(config.workers) as mapped:
        for one in mapped(act, found):
            judged.append(one)
            progress.advance()
    return judged


def settle(judged: Iterable[Judged], *, order: list[str]) -> list[Judged]:
    """Drop all but the first of equal texts, by (source in `order`, origin); sorted by key."""
    rank = {name: index for index, name in enumerate(order)}

    def precedence(one: Judged) -> tuple[str, int, str, str]:
        return one.document.key, rank[one.document.source], one.document.origin, one.reason

    settled, last_kept = [], ""
    for one in sorted(judged, key=precedence):
        if one.reason or one.document.key != last_kept:
            settled.append(one)
            last_kept = last_kept if one.reason else one.document.key
        else:
            settled.append(replace(one, reason=DUPLICATE))
    return settled


def take_out_lines(settled: list[Judged], *, order: list[str], config: CleanConfig) -> list[Judged]:
    """Take out of documents that stay what stands in many, as `lines` says, and ask the filters again."""
    kept = [one.document for one in settled if not one.reason]
    changed = without_repeated(kept, order=order, config=config.lines)
    return [
        shortened(one, changed[one.document.key], config) if not one.reason and one.document.key in changed else one
        for one in settled
    ]


def shortened(one: Judged, text: str, config: CleanConfig) -> Judged:
    """A document with less text, and so with another key; what the filters now drop is dropped as it was before."""
    text = normalize(text)
    reason = drop_reason(text, config.filters) or rule_reason(Signals(text), config)
    if reason:
        return replace(one, reason=reason)
    document = replace(one.document, key=key_of(text), text=text)
    return replace(one, document=document, masked=count_placeholders(text, one.masked))


def drop_near_duplicates(settled: list[Judged], *, order: list[str], config: CleanConfig) -> list[Judged]:
    """Drop near-duplicates of documents that stay, as `fuzzy` says."""
    kept = [one.document for one in settled if not one.reason]
    twins = near_duplicates(kept, order=order, config=config.fuzzy, workers=config.workers)
    return [
        replace(one, reason=NEAR_DUPLICATE, twin=twins[one.document.key])
        if not one.reason and one.document.key in twins
        else one
        for one in settled
    ]


def drop_contaminated(settled: list[Judged], config: CleanConfig) -> tuple[list[Judged], BenchmarkCounts]:
    """Drop what holds text of evaluation sets, as `decontamination` says; with counts by benchmark."""
    if not config.decontamination.benchmarks:
        return settled, {}
    kept = [one.document for one in settled if not one.reason]
    found = find_contaminated(kept, config=config.decontamination, workers=config.workers)
    return [
        replace(one, reason=f"contaminated_{found.dropped[one.document.key]}")
        if not one.reason and one.document.key in found.dropped
        else one
        for one in settled
    ], found.report


def is_heldout(key: str, *, seed: int, permille: int) -> bool:
    """Whether a document is held out: a pure function of its key and the seed."""
    return derive_seed(seed, "heldout", key) % 1000 < permille


def write_source(aside: Path, documents: list[Document], *, source: str, config: CleanConfig) -> None:
    """Write the training shards and the held-out documents of a source; `documents` are sorted by key."""
    held: list[Document] = []
    train: list[Document] = []
    for document in documents:
        is_held = is_heldout(document.key, seed=config.seed, permille=config.heldout_permille)
        (held if is_held else train).append(document)
    (aside / HELDOUT).mkdir(exist_ok=True)
    (aside / TRAIN).mkdir(exist_ok=True)
    write_documents(aside / HELDOUT / f"{source}.jsonl", held)
    for index, shard in enumerate(shards(train, config)):
        write_documents(aside / TRAIN / f"{source}-{index:05d}.jsonl", shard)


def shards(documents: list[Document], config: CleanConfig) -> Iterator[list[Document]]:
    """Cut documents into shards; at least one, and a document larger than a shard has its own."""
    shard: list[Document] = []
    size = 0
    for document in documents:
        length = len(line_of(document))
        if shard and (len(shard) == config.shard_documents or size + length > config.shard_bytes):
            yield shard
            shard, size = [], 0
        shard.append(document)
        size += length
    yield shard


def write_dropped(path: Path, dropped: list[Judged]) -> None:
    """Write key, source and reason of every dropped document; for a near-duplicate also the key of what stays."""
    rows = [
        {"key": one.document.key, "source": one.document.source, "reason": one.reason}
        | ({"twin": one.twin} if one.twin else {})
        for one in dropped
    ]
    path.write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))
