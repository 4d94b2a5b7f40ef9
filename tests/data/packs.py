"""Small clean artifacts and packs that the tests of data/ write themselves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.artifact import Artifact, build, plan
from core.hashing import canonical_json
from core.seeds import random_bytes
from data.corpus.keys import write_keys
from data.course import plan_course
from data.documents import Document, key_of, write_documents
from data.orderfile import describe, write_order
from data.packconfig import PackConfig
from data.report import REPORT
from data.shards import write_shards

VOCAB_SIZE = 512
VOCABULARY = {"bos_id": 1, "eos_id": 2, "vocab_size": VOCAB_SIZE, "tokenizer_sha256": "0" * 64}


def documents_of(source: str, texts: Sequence[str]) -> list[Document]:
    """Documents in the order of their keys, as a clean artifact has them."""
    return sorted((Document(key_of(text), source, text, source) for text in texts), key=lambda document: document.key)


def write_clean(
    runs: Path,
    train: Mapping[str, Sequence[str]],
    *,
    heldout: Mapping[str, Sequence[str]],
    shards: int = 1,
    report: Mapping[str, Any] | None = None,
) -> Artifact:
    """A clean artifact of given texts, in `runs`, with each source's training documents in a number of shards."""

    def write(aside: Path) -> dict[str, str]:
        (aside / "train").mkdir()
        (aside / "heldout").mkdir()
        for source, texts in train.items():
            documents = documents_of(source, texts)
            size = -(-len(documents) // shards)
            for shard in range(shards):
                part = documents[shard * size : (shard + 1) * size]
                write_documents(aside / "train" / f"{source}-{shard:05d}.jsonl", part)
        if report:
            (aside / REPORT).write_bytes(canonical_json(report))
        for source, texts in heldout.items():
            write_documents(aside / "heldout" / f"{source}.jsonl", documents_of(source, texts))
        return {"came_in": "texts", "went_out": "documents"}

    return build(plan("clean", folder="data", out=runs, config={"shards": shards}, inputs={}), write)


def generated_tokens(source: str, *, documents: int) -> list[list[int]]:
    """Documents of 2 to 65 tokens, ids 3 to 511 between bos and eos: a pure function of the source's name."""
    tokens = []
    for number in range(documents):
        lengths, *rest = random_bytes(7, source, number, count=257)
        ids = [3 + (rest[2 * at] + 256 * rest[2 * at + 1]) % (VOCAB_SIZE - 3) for at in range(lengths % 64)]
        tokens.append([1, *ids, 2])
    return tokens


def write_pack(
    folder: Path, config: PackConfig, *, documents: Mapping[str, int], train: Mapping[str, int] | None = None
) -> Path:
    """A pack of generated tokens with a number of documents in each source; returns its folder.

    `train` is section train of the recipe; the shards of a parent are taken over.
    """
    course = plan_course(config, {"train": train} if train else {})
    folder.mkdir(parents=True)
    sources = []
    for source, count in sorted(documents.items()):
        tokens = generated_tokens(source, documents=count)
        sidecars = write_shards(folder, source, tokens, vocab_size=VOCAB_SIZE, shard_tokens=config.shard_tokens)
        write_keys(folder, (key_of(f"{source} {number}") for number in range(count)), sidecars)
        sources.append(describe(source, sidecars, seq_len=config.seq_len))
    if course.parent:
        course.parent.take_shards(folder)
    write_order(folder, {**VOCABULARY, **course.record(sources)})
    return folder
