"""Held-out tokens in a pack: what training is measured on between steps. No step of the data order holds any of them.

`heldout/` holds shards as those of training (shards.py), of every source that holds out documents, and `record.json`:
sources with counts and shards, and a seal over all of it. Its SHA-256 is the root of the held-out tokens. Documents
stand as in training, `<bos> ids <eos>`, in the order of their keys, which are hashes: the first ones are a fair sample.

Of conversations the windows are those of wholes.py, of those that fit into one; what counts is measured, as in
training. Pairs are not measured so: no loss of one answer says which of two is the better.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError, DataError
from core.hashing import canonical_json, hash_value, sha256_hex
from data.chat import ASSISTANT, ChatTokenizer, Form, encode, messages_of
from data.documents import read_documents
from data.shards import TokenStream, verify_shard, write_shards
from data.tokenizer import Tokenizer
from data.wholes import Whole, WholeWindows, fill_windows, verify_layout, write_wholes

FOLDER, RECORD = "heldout", "record.json"
FORMAT = "wholegrain-heldout-1"
MASKED_FORMAT = "wholegrain-masked-heldout-1"
COUNTS = ("documents", "text_tokens", "text_bytes")


@dataclass(frozen=True, slots=True)
class Source:
    """What is measured of a source: `text_tokens` are its targets, without the marks of documents.

    Of conversations they are those that count, and `text_bytes` are what the assistant says.
    """

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
        self._streams: list[TokenStream] = []
        self._wholes: list[WholeWindows] = []
        if record["format"] == FORMAT:
            self._streams = [TokenStream(folder, one["shards"]) for one in listed]
            windows = [-(-(len(stream) - 1) // seq_len) for stream in self._streams]
        else:
            form = Form(record["form"])
            self._wholes = [WholeWindows(folder, one, seq_len=seq_len, bos_id=self.bos_id, form=form) for one in listed]
            windows = [one["windows"] for one in listed]
        self._windows = windows
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
        if record.get("seq_len", seq_len) != seq_len:
            raise ConfigError(
                f"the held-out windows in {folder} are of {record['seq_len']} tokens, not {seq_len}; pack again"
            )
        for source in record["sources"]:
            for sidecar in source["shards"]:
                verify_shard(folder, sidecar)
            if record["format"] != FORMAT:
                verify_layout(folder, source)
        return cls(folder, record, root=root, seq_len=seq_len, micro_batch=micro_batch)

    def batch(self, number: int) -> NDArray[np.int64]:
        """The token ids [B, T+1] of a batch."""
        batch = self.batches[number]
        if self._wholes:
            whole = self._wholes[batch.source]
            return self._gather(number, whole.ids, self.bos_id, width=self.seq_len + 1).astype(np.int64)
        stream = self._streams[batch.source]
        tokens = np.full((self.micro_batch, self.seq_len + 1), self.bos_id, dtype=np.int64)
        for row in range(self.micro_batch):
            start = (batch.first + row) * self.seq_len
            count = min(self.seq_len + 1, len(stream) - start)
            if count > 1:
                tokens[row, :count] = stream.read(start, count)
        return tokens

    def counted(self, number: int) -> NDArray[np.bool_] | None:
        """Which targets [B, T] of a batch of conversations count; None of text, where all but the marks do."""
        if not self._wholes:
            return None
        whole = self._wholes[self.batches[number].source]
        return self._gather(number, whole.counted, 0, width=self.seq_len).astype(np.bool_)

    def _gather(self, number: int, read: Callable[[int], NDArray[Any]], filler: int, *, width: int) -> NDArray[Any]:
        """What `read` gives of the windows of a batch, a row each; behind the last one there is the filler."""
        batch = self.batches[number]
        rows = np.full((self.micro_batch, width), filler)
        for row in range(min(self.micro_batch, self._windows[batch.source] - batch.first)):
            rows[row] = read(batch.first + row)[0]
        return rows


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
    return _write_record(folder, {"format": FORMAT}, sources, tokenizer, tokens=tokens, clean_folder=clean_folder)


def write_heldout_chats(
    pack_folder: Path, clean_folder: Path, tokenizer: ChatTokenizer, *, tokens: int, seq_len: int
) -> dict[str, Any]:
    """As write_heldout, of the conversations that fit into a window."""
    folder = pack_folder / FOLDER
    folder.mkdir()
    sources: list[dict[str, Any]] = []
    for path in sorted((clean_folder / "heldout").glob("*.jsonl")):
        chosen = list(_chosen_chats(path, tokenizer, tokens=tokens, room=seq_len + 1))
        if not chosen:
            continue
        filled = fill_windows([whole.tokens for whole, _ in chosen], room=seq_len + 1)
        written = write_wholes(
            folder,
            path.stem,
            ([chosen[at][0] for at in window] for window in filled),
            vocab_size=tokenizer.vocab_size,
            shard_tokens=1 << 26,
            seq_len=seq_len,
            form=Form.CONVERSATIONS,
        )
        counts = {"text_tokens": written["targets"], "text_bytes": sum(size for _, size in chosen)}
        sources.append({**written, **counts})
    facts = {"format": MASKED_FORMAT, "form": Form.CONVERSATIONS.value, "seq_len": seq_len}
    return _write_record(folder, facts, sources, tokenizer, tokens=tokens, clean_folder=clean_folder)


def _write_record(
    folder: Path,
    facts: Mapping[str, Any],
    sources: Sequence[Mapping[str, Any]],
    tokenizer: ChatTokenizer,
    *,
    tokens: int,
    clean_folder: Path,
) -> dict[str, Any]:
    if not sources:
        raise DataError(
            f"pack.heldout_tokens is {tokens}, but no documents were held out in {clean_folder / 'heldout'}; raise "
            "clean.heldout_permille"
        )
    whole = {**facts, "bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "sources": sources}
    (folder / RECORD).write_bytes(canonical_json({**whole, "seal": hash_value(whole)}))
    return {source["name"]: {count: source[count] for count in COUNTS} for source in sources}


def _chosen_chats(path: Path, tokenizer: ChatTokenizer, *, tokens: int, room: int) -> Iterator[tuple[Whole, int]]:
    """The first conversations that fit, while they have at most `tokens` tokens together, and bytes of the answers."""
    taken = 0
    for document in read_documents(path):
        messages = messages_of(document.text)
        masked = encode(messages, tokenizer)
        if masked.ids.size > room:
            continue
        taken += masked.ids.size
        if taken > tokens and taken > masked.ids.size:
            return
        yield Whole((masked,)), sum(len(one.content.encode()) for one in messages if one.role == ASSISTANT)


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
        is_sound = record["format"] in (FORMAT, MASKED_FORMAT) and record.pop("seal") == hash_value(record)
    except (ValueError, KeyError, TypeError, AttributeError):
        is_sound = False
    if not is_sound:
        raise DataError(f"{path} is damaged, or no {FORMAT} record; pack again")
    return record, sha256_hex(content)


def _chosen(path: Path, tokenizer: ChatTokenizer, *, tokens: int) -> Iterator[tuple[list[int], int]]:
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
