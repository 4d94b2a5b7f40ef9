"""Held-out tokens in a pack: what training is measured on between steps. No step of the data order holds any of them.

`heldout/` holds shards as those of training (shards.py), of every source that holds out documents, and `record.json`:
sources with counts and shards, and a seal over all of it. Its SHA-256 is the root of the held-out tokens. Documents
stand as in training, `<bos> ids <eos>`, in the order of their keys, which are hashes: the first ones are a fair sample.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.hashing import canonical_json, hash_value, sha256_hex
from data.documents import read_documents
from data.shards import TokenStream, verify_shard, write_shards
from data.tokenizer import Tokenizer

FOLDER, RECORD = "heldout", "record.json"
FORMAT = "wholegrain-heldout-1"
COUNTS = ("documents", "text_tokens", "text_bytes")


@dataclass(frozen=True, slots=True)
class Source:
    """What is measured of a source: `text_tokens` are its targets, without the marks of documents."""

    name: str
    text_tokens: int
    text_bytes: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Some windows of one source, by its place in the list of sources and the number of the first window."""

    source: int
    first: int


class Heldout:
    """The held-out windows of a pack, in batches of a fixed shape; made by `Heldout.open`.

    Window w of a source is its tokens w*T .. w*T+T, as in training; what is missing behind the last one is filled up
    with bos, which is never a target.
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], *, root: str, seq_len: int, micro_batch: int) -> None:
        self.root = root
        self.seq_len, self.micro_batch = seq_len, micro_batch
        self.bos_id: int = record["bos_id"]
        self.eos_id: int = record["eos_id"]
        listed = record["sources"]
        self.sources = [Source(one["name"], one["text_tokens"], one["text_bytes"]) for one in listed]
        self._streams = [TokenStream(folder, one["shards"]) for one in listed]
        windows = [-(-(len(stream) - 1) // seq_len) for stream in self._streams]
        self.batches = [
            Batch(source, first) for source, count in enumerate(windows) for first in range(0, count, micro_batch)
        ]

    @classmethod
    def open(cls, pack_folder: Path, *, seq_len: int, micro_batch: int) -> "Heldout":
        """Open the held-out tokens of a pack, whose shards are hashed.

        Raises ConfigError if it has none, DataError naming the file that is missing or damaged.
        """
        folder = pack_folder / FOLDER
        record, root = read_record(folder)
        for source in record["sources"]:
            for sidecar in source["shards"]:
                verify_shard(folder, sidecar)
        return cls(folder, record, root=root, seq_len=seq_len, micro_batch=micro_batch)

    def batch(self, number: int) -> NDArray[np.int64]:
        """The token ids [B, T+1] of a batch."""
        batch = self.batches[number]
        stream = self._streams[batch.source]
        tokens = np.full((self.micro_batch, self.seq_len + 1), self.bos_id, dtype=np.int64)
        for row in range(self.micro_batch):
            start = (batch.first + row) * self.seq_len
            count = min(self.seq_len + 1, len(stream) - start)
            if count > 1:
                tokens[row, :count] = stream.read(start, count)
        return tokens


def write_heldout(pack_folder: Path, clean_folder: Path, tokenizer: Tokenizer, *, tokens: int) -> dict[str, Any]:
    """Write the first held-out documents of every source, up to `tokens` of each, and return counts by source.

    The first document of a source is taken whatever its size. Raises DataError if no document was held out.
    """
    folder = pack_folder / FOLDER
    folder.mkdir()
    sources: list[dict[str, Any]] = []
    for path in sorted((clean_folder / "heldout").glob("*.jsonl")):
        chosen = list(_chosen(path, tokenizer, tokens=tokens))
        if not chosen:
            continue
        marked = [[tokenizer.bos_id, *ids, tokenizer.eos_id] for ids, _ in chosen]
        sources.append(
            {
                "name": path.stem,
                "documents": len(chosen),
                "text_tokens": sum(len(ids) for ids, _ in chosen),
                "text_bytes": sum(size for _, size in chosen),
                "shards": write_shards(
                    folder, path.stem, marked, vocab_size=tokenizer.vocab_size, shard_tokens=1 << 26
                ),
            }
        )
    if not sources:
        raise DataError(
            f"pack.heldout_tokens is {tokens}, but no documents were held out in {clean_folder / 'heldout'}; raise "
            "clean.heldout_permille"
        )
    whole = {"format": FORMAT, "bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "sources": sources}
    (folder / RECORD).write_bytes(canonical_json({**whole, "seal": hash_value(whole)}))
    return {source["name"]: {count: source[count] for count in COUNTS} for source in sources}


def read_record(folder: Path) -> tuple[dict[str, Any], str]:
    """What record.json says of the held-out tokens in a folder, and its SHA-256.

    Raises ConfigError if there is none, DataError if it is damaged: it holds the hash of the rest of itself.
    """
    path = folder / RECORD
    if not path.exists():
        raise ConfigError(
            f"{folder.parent} holds no held-out tokens, which train.eval_every_steps asks for; set pack.heldout_tokens "
            "and pack again, or leave train.eval_every_steps at 0"
        )
    content = path.read_bytes()
    try:
        record = json.loads(content)
        is_sound = record["format"] == FORMAT and record.pop("seal") == hash_value(record)
    except (ValueError, KeyError, TypeError, AttributeError):
        is_sound = False
    if not is_sound:
        raise DataError(f"{path} is damaged, or no {FORMAT} record; pack again")
    return record, sha256_hex(content)


def _chosen(path: Path, tokenizer: Tokenizer, *, tokens: int) -> Iterator[tuple[list[int], int]]:
    """Ids and bytes of the first documents with any text, while they have at most `tokens` tokens together."""
    taken = 0
    for document in read_documents(path):
        ids = tokenizer.encode(document.text)
        if not ids:
            continue
        taken += len(ids) + 2
        if taken > tokens and taken > len(ids) + 2:
            return
        yield ids, len(document.text.encode())
