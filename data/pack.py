"""Stage pack: documents become token shards, and the data order is fixed.

Reads a clean artifact and a tokenizer, writes the shards of every source that has a weight, their documents' keys, and
`order.json`: all that decides which tokens a step sees. Its SHA-256 is the data root. A document is `<bos> ids <eos>`;
documents stand in the order of their keys, so neither the number of document shards nor of workers leaves a trace.
Conversations and pairs (`pack.form`) become windows of whole documents with masks (chatpack.py).
With pack.heldout_tokens it writes tokens of held-out documents beside (heldout.py), of which order.json knows nothing.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

from core.artifact import Artifact, Facts, build, current, plan
from core.cli import recipe_and_overrides
from core.config import RunConfig, identity, load, resolve
from core.errors import ConfigError
from core.hashing import hash_file
from data.chat import TEMPLATE, Form
from data.chatpack import chat_facts, chat_record, encode_chats, write_chats
from data.corpus.keys import write_keys
from data.course import Course, plan_course
from data.engine import run_tasks, working
from data.engineconfig import EngineConfig
from data.heldout import write_heldout, write_heldout_chats
from data.limits import check_run
from data.order import order_of
from data.orderfile import describe, write_order
from data.packconfig import PackConfig
from data.shards import Sidecar, write_shards
from data.steps.encode import Encode, Encoded, check_order
from data.tokenizer import MODEL, Tokenizer, bytes_per_token, training_files


def main(arguments: list[str]) -> None:
    """Verb `pack`: make the artifact of stage pack and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data pack")
    run = load(recipe, "run", RunConfig, overrides)
    engine = load(recipe, "data", EngineConfig, overrides)
    course = plan_course(load(recipe, "pack", PackConfig, overrides), resolve(recipe, overrides))
    inputs = {stage: current(run.inputs_folder, stage) for stage in ("clean", "tokenizer")}
    # how a model encodes may change with the library, so its version belongs to the key
    wanted = plan(
        "pack",
        folder="data",
        out=run.out_folder,
        config={**_decided(course.config), **course.facts, "sentencepiece": version("sentencepiece")},
        inputs=inputs,
    )
    clean, tokenizer = inputs["clean"], inputs["tokenizer"]
    write = partial(write_pack, clean=clean, tokenizer=tokenizer, course=course, identity=wanted.key, engine=engine)
    artifact = build(wanted, write, is_resumable=True)
    sys.stdout.write(f"{artifact.folder}\n")


def _decided(config: PackConfig) -> dict[str, Any]:
    """Section pack, with the template where there is one: its windows are other windows by another."""
    return {**identity(config), **({} if config.form is Form.TEXT else {"template": TEMPLATE})}


def write_pack(
    aside: Path, *, clean: Artifact, tokenizer: Artifact, course: Course, identity: str, engine: EngineConfig
) -> Facts:
    """Write shards and order.json, and return the facts; `identity` is that of the whole artifact.

    Raises ConfigError if the run that section train asks for wants more of the sources than section pack allows.
    """
    config = course.config
    available = training_files(clean.folder)
    files = choose_files(available, config.sources)
    model = tokenizer.folder / MODEL
    if course.parent:
        course.parent.check_tokenizer(hash_file(model))
    opened = Tokenizer.open(model)
    if config.form is not Form.TEXT:
        facts, root = write_chat_pack(
            aside,
            files,
            clean=clean.folder,
            tokenizer=opened,
            model=model,
            course=course,
            identity=identity,
            engine=engine,
        )
        return {**facts, "data_root": root, "sources_left_out": sorted(available.keys() - files.keys())}
    sidecars: dict[str, list[Sidecar]] = {}
    with working(aside) as work:
        encoded = encode_all(files, model=model, work=work, identity=identity, engine=engine)
        text_bytes = {source: sum(part.text_bytes for part in parts) for source, parts in encoded.items()}
        for source, parts in encoded.items():
            keys = list(check_order(chain.from_iterable(part.keys for part in parts), where=clean.folder))
            tokens = chain.from_iterable(part.documents() for part in parts)
            sidecars[source] = write_shards(
                aside, source, tokens, vocab_size=opened.vocab_size, shard_tokens=config.shard_tokens
            )
            write_keys(aside, keys, sidecars[source])
    sources = [describe(source, listed, seq_len=config.seq_len) for source, listed in sidecars.items()]
    record = {**_vocabulary(opened, model), **course.record(sources)}
    if course.run:
        check_run(record, order_of(record), samples=course.run.samples)
    if course.parent:
        course.parent.take_shards(aside)
    root = write_order(aside, record)
    facts = _facts(sources, text_bytes, seq_len=config.seq_len)
    if config.heldout_tokens:
        facts["heldout"] = write_heldout(aside, clean.folder, opened, tokens=config.heldout_tokens)
    if course.parent:
        facts["parent"] = course.parent.taken
        tokens = sum(source["tokens"] for source in course.parent_sources)
        facts["went_out"] += f", and {tokens:,} tokens taken over from the parent"
    return {**facts, "data_root": root, "sources_left_out": sorted(available.keys() - files.keys())}


def write_chat_pack(
    aside: Path,
    files: Mapping[str, list[Path]],
    *,
    clean: Path,
    tokenizer: Tokenizer,
    model: Path,
    course: Course,
    identity: str,
    engine: EngineConfig,
) -> tuple[Facts, str]:
    """Write shards of conversations or pairs and order.json; the facts, and the data root. Raises as write_pack."""
    config = course.config
    chat = chat_record(tokenizer, config)
    with working(aside) as work:
        encoded = encode_chats(files, config, model=model, work=work, identity=identity, engine=engine)
        text_bytes = {source: sum(part.text_bytes for part in parts) for source, parts in encoded.items()}
        sources = [
            write_chats(aside, source, parts, tokenizer=tokenizer, config=config) for source, parts in encoded.items()
        ]
    record = {**_vocabulary(tokenizer, model), **chat, **course.record(sources)}
    if course.run:
        check_run(record, order_of(record), samples=course.run.samples)
    root = write_order(aside, record)
    facts = chat_facts(sources, text_bytes, config)
    if config.heldout_tokens:
        facts["heldout"] = write_heldout_chats(
            aside, clean, tokenizer, tokens=config.heldout_tokens, seq_len=config.seq_len
        )
    return facts, root


def _vocabulary(tokenizer: Tokenizer, model: Path) -> dict[str, Any]:
    return {
        "bos_id": tokenizer.bos_id,
        "eos_id": tokenizer.eos_id,
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_sha256": hash_file(model),
    }


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


def encode_all(
    files: Mapping[str, list[Path]], *, model: Path, work: Path, identity: str, engine: EngineConfig
) -> dict[str, list[Encoded]]:
    """The tokens of every document shard, a task for each; shards stay in their order."""
    paths = [path.absolute() for listed in files.values() for path in listed]
    step = Encode(shards=paths, model=model.absolute())
    folders = iter(
        run_tasks(step, tasks=len(paths), folder=work / "encode", identity=identity, engine=engine, unit="shards")
    )
    return {source: [Encoded.open(next(folders)) for _ in listed] for source, listed in files.items()}


def _facts(sources: Sequence[Mapping[str, Any]], text_bytes: Mapping[str, int], *, seq_len: int) -> dict[str, Any]:
    documents, tokens, windows = (
        sum(source[name] for source in sources) for name in ("documents", "tokens", "windows")
    )
    return {
        "came_in": f"{documents:,} documents, {sum(text_bytes.values()) / 1e6:.1f} MB of text",
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
