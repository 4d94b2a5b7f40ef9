"""Stage pack: documents become token shards, and the data order is fixed.

Reads a clean artifact and a tokenizer, writes the shards of every source that has a weight, their documents' keys, and
`order.json`: all that decides which tokens a step sees. Its SHA-256 is the data root. A document is `<bos> ids <eos>`;
documents stand in the order of their keys, so neither the number of document shards nor of workers leaves a trace.
"""

import heapq
import signal
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from importlib.metadata import version
from itertools import groupby, islice
from multiprocessing import get_context
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from core.artifact import Artifact, Facts, build, current, plan
from core.cli import recipe_and_overrides
from core.config import RunConfig, identity, load, resolve
from core.errors import ConfigError, DataError, RetryError
from core.hashing import hash_file
from core.notes import die_with_parent
from core.progress import Progress
from data.corpus.keys import write_keys
from data.course import Course, plan_course
from data.documents import Document, read_documents
from data.limits import check_run
from data.orderfile import describe, write_order
from data.packconfig import PackConfig
from data.shards import Sidecar, Tokens, token_type, write_shards
from data.tokenizer import MODEL, Tokenizer, bytes_per_token, training_files

BATCH_DOCUMENTS = 64
BATCHES_AHEAD = 4  # for each worker: enough to keep it busy, little enough to keep in memory


def main(arguments: list[str]) -> None:
    """Verb `pack`: make the artifact of stage pack and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data pack")
    run = load(recipe, "run", RunConfig, overrides)
    course = plan_course(load(recipe, "pack", PackConfig, overrides), resolve(recipe, overrides))
    inputs = {stage: current(run.inputs_folder, stage) for stage in ("clean", "tokenizer")}
    # how a model encodes may change with the library, so its version belongs to the key
    wanted = plan(
        "pack",
        folder="data",
        out=run.out_folder,
        config={**identity(course.config), **course.facts, "sentencepiece": version("sentencepiece")},
        inputs=inputs,
    )
    artifact = build(wanted, lambda aside: write_pack(aside, inputs["clean"], inputs["tokenizer"], course))
    sys.stdout.write(f"{artifact.folder}\n")


def write_pack(aside: Path, clean: Artifact, tokenizer: Artifact, course: Course) -> Facts:
    """Write shards and order.json, and return the facts.

    Raises ConfigError if the run that section train asks for wants more of the sources than section pack allows.
    """
    config = course.config
    available = training_files(clean.folder)
    files = choose_files(available, config.sources)
    model = tokenizer.folder / MODEL
    if course.parent:
        course.parent.check_tokenizer(hash_file(model))
    opened = Tokenizer.open(model)
    text_bytes: Counter[str] = Counter()
    documents = _counted(files, text_bytes)
    sidecars: dict[str, list[Sidecar]] = {source: [] for source in files}
    for source, group in groupby(encode_all(documents, model=model, workers=config.workers), key=itemgetter(0)):
        tokens = (tokens for _, tokens in group)
        sidecars[source] = write_shards(
            aside, source, tokens, vocab_size=opened.vocab_size, shard_tokens=config.shard_tokens
        )
        write_keys(aside, (document.key for document in in_key_order(files[source])), sidecars[source])
    sources = [describe(source, listed, seq_len=config.seq_len) for source, listed in sidecars.items()]
    vocabulary = {
        "bos_id": opened.bos_id,
        "eos_id": opened.eos_id,
        "vocab_size": opened.vocab_size,
        "tokenizer_sha256": hash_file(model),
    }
    record = {**vocabulary, **course.record(sources)}
    if course.run:
        check_run(record, samples=course.run.samples)
    if course.parent:
        course.parent.take_shards(aside)
    root = write_order(aside, record)
    facts = _facts(sources, text_bytes, seq_len=config.seq_len)
    return {**facts, "data_root": root, "sources_left_out": sorted(available.keys() - files.keys())}


def choose_files(available: Mapping[str, list[Path]], wanted: Iterable[str]) -> dict[str, list[Path]]:
    """The document shards of the sources that have a weight, in the order of their names.

    Raises ConfigError if a weight names a source that is not there.
    """
    unknown = sorted(set(wanted) - available.keys())
    if unknown:
        raise ConfigError(
            f"pack.weights names {', '.join(unknown)}, of which there are no training documents; "
            f"there are {', '.join(sorted(available))}"
        )
    return {source: available[source] for source in sorted(wanted)}


def in_key_order(paths: Sequence[Path]) -> Iterator[Document]:
    """The documents of a source's shards, merged by key.

    Raises DataError if a shard is not sorted or a key comes twice.
    """
    previous = ""
    for document in heapq.merge(*map(read_documents, paths), key=attrgetter("key")):
        if document.key <= previous:
            raise DataError(
                f"document {document.key} of {document.source} is out of order or there twice in {paths[0].parent}; "
                "run stage clean again"
            )
        previous = document.key
        yield document


def _counted(files: Mapping[str, list[Path]], text_bytes: Counter[str]) -> Iterator[tuple[str, str]]:
    """Source and text of every document; `text_bytes` is filled with the size of each source's text."""
    total = sum(_count_lines(path) for paths in files.values() for path in paths)
    progress = Progress("pack", total=total, unit="documents")
    for source, paths in files.items():
        for document in in_key_order(paths):
            text_bytes[source] += len(document.text.encode())
            yield source, document.text
            progress.advance()


def _count_lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(1 for _ in stream)


def encode_all(documents: Iterable[tuple[str, str]], *, model: Path, workers: int) -> Iterator[tuple[str, Tokens]]:
    """Source and `<bos> ids <eos>` of every document, in their order, whatever the number of processes.

    Raises RetryError if a process is killed.
    """
    remaining = iter(documents)
    batches = iter(lambda: list(islice(remaining, BATCH_DOCUMENTS)), [])
    if workers == 1:
        for batch in batches:
            yield from _encode(model, batch)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    with pool:
        running: deque[Future[list[tuple[str, Tokens]]]] = deque()
        try:
            for batch in batches:
                running.append(pool.submit(_encode, model, batch))
                if len(running) == BATCHES_AHEAD * workers:
                    yield from running.popleft().result()
            while running:
                yield from running.popleft().result()
        except BrokenProcessPool as error:
            raise RetryError(
                "a tokenizing process was killed, perhaps for want of memory; run the same command again"
            ) from error


def _start_worker() -> None:
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone answers ctrl-c


def _encode(model: Path, documents: Sequence[tuple[str, str]]) -> list[tuple[str, Tokens]]:
    tokenizer = _tokenizer(model)
    kind = token_type(tokenizer.vocab_size)
    return [
        (source, np.array([tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id], dtype=kind))
        for source, text in documents
    ]


@cache
def _tokenizer(model: Path) -> Tokenizer:
    return Tokenizer.open(model)


def _facts(sources: Sequence[Mapping[str, Any]], text_bytes: Counter[str], *, seq_len: int) -> dict[str, Any]:
    documents, tokens, windows = (
        sum(source[name] for source in sources) for name in ("documents", "tokens", "windows")
    )
    return {
        "came_in": f"{documents:,} documents, {text_bytes.total() / 1e6:.1f} MB of text",
        "went_out": f"{tokens:,} tokens in {windows:,} windows of {seq_len}",
        "sources": {
            source["name"]: {
                "documents": source["documents"],
                "tokens": source["tokens"],
                "windows": source["windows"],
                "unused_tokens": source["unused_tokens"],
                # the marks of a document are no text: two tokens of each are not counted
                "bytes_per_token": bytes_per_token(
                    text_bytes[source["name"]], source["tokens"] - 2 * source["documents"]
                ),
            }
            for source in sources
        },
    }
