"""Step encode of stage pack for conversations and pairs: the documents of one shard become ids with masks.

A task reads document shard `n`, whose documents must stand in the order of their keys, and writes what data/chat.py
makes of each, a pair's two sides one after the other, to `tokens.bin`, one byte a token to `mask.bin`, the ends of
sides in tokens to `ends.idx`, the keys to `keys.txt`, one a line, and to `facts.json` the size of what is said, the
documents that are dropped because they do not fit into a window, and how many were truncated.

A truncated conversation has no <eos>: it has not ended. Its key stays that of the document.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from core.hashing import canonical_json
from data.chat import ASSISTANT, ChatTokenizer, Form, Masked, Message, contents_of, encode, messages_of, sides_of
from data.documents import read_documents
from data.engine import Step
from data.packconfig import TooLong
from data.shards import INDEX_TYPE, token_type
from data.steps.encode import ENDS, FACTS, KEYS, TOKENS, check_order, open_tokenizer
from data.wholes import Whole, rows_of

MASKS = "mask.bin"
TOO_LONG = "too_long"


@dataclass(kw_only=True, slots=True)
class EncodeChats(Step):
    """Tokenizes document shards of conversations or pairs; `room` is that of a window, in tokens."""

    name: ClassVar[str] = "pack"
    shards: list[Path]
    model: Path
    form: Form
    room: int
    too_long: TooLong

    def run(self, task: int, out: Path) -> None:
        """Encode one shard. Raises DataError for a document of another form, or documents out of order."""
        tokenizer = open_tokenizer(self.model)
        kind = token_type(tokenizer.vocab_size)
        kept, dropped, seen = list[str](), list[str](), list[str]()
        ends: list[int] = []
        text_bytes = truncated = 0
        with (out / TOKENS).open("wb") as ids, (out / MASKS).open("wb") as masks:
            for document in read_documents(self.shards[task]):
                seen.append(document.key)
                whole, is_cut = self._encode(messages_of(document.text), tokenizer)
                if whole is None:
                    dropped.append(document.key)
                    continue
                kept.append(document.key)
                truncated += is_cut
                text_bytes += len(contents_of(document.text).encode())
                for side in whole.sides:
                    ids.write(side.ids.astype(kind).tobytes())
                    masks.write(side.mask.astype(np.uint8).tobytes())
                    ends.append((ends[-1] if ends else 0) + side.ids.size)
        for _ in check_order(seen, where=self.shards[task]):
            pass
        (out / ENDS).write_bytes(np.array(ends, dtype=INDEX_TYPE).tobytes())
        (out / KEYS).write_text("".join(f"{key}\n" for key in kept), encoding="ascii")
        facts = {"text_bytes": text_bytes, "type": kind, "dropped": dropped, "truncated": truncated}
        (out / FACTS).write_bytes(canonical_json({**facts, "sides": rows_of(self.form)}))

    def _encode(self, messages: Sequence[Message], tokenizer: ChatTokenizer) -> tuple[Whole | None, bool]:
        """A document as ids, or None if it does not fit, and whether it was truncated."""
        if self.form is Form.PAIRS:
            sides = tuple(encode(side, tokenizer, is_last_only=True) for side in sides_of(messages))
            return (Whole(sides) if max(side.ids.size for side in sides) <= self.room else None), False
        whole = encode(messages, tokenizer)
        if whole.ids.size <= self.room:
            return Whole((whole,)), False
        if self.too_long is TooLong.DROP:
            return None, False
        cut = truncate(messages, tokenizer, room=self.room)
        return (Whole((cut,)) if cut else None), cut is not None


def truncate(messages: Sequence[Message], tokenizer: ChatTokenizer, *, room: int) -> Masked | None:
    """The most of a conversation's first messages that fit and end with the assistant's; None if there are none."""
    for count in range(len(messages) - 1, 0, -1):
        if messages[count - 1].role == ASSISTANT:
            ids, mask = encode(messages[:count], tokenizer)
            if ids.size - 1 <= room:
                return Masked(ids[:-1], mask[:-1])
    return None


@dataclass(kw_only=True)
class EncodedChats:
    """What EncodeChats made of one shard."""

    folder: Path
    keys: list[str]
    text_bytes: int
    type: str
    sides: int
    dropped: list[str]
    truncated: int

    @classmethod
    def open(cls, folder: Path) -> "EncodedChats":
        """The result in the folder of a task."""
        keys = (folder / KEYS).read_text(encoding="ascii").split()
        return cls(folder=folder, keys=keys, **json.loads((folder / FACTS).read_bytes()))

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of every document."""
        if not self.keys:
            return []
        lengths: list[int] = np.diff(self._ends[:: self.sides]).tolist()
        return lengths

    def whole(self, number: int) -> Whole:
        """Document `number`."""
        ends = self._ends[number * self.sides : (number + 1) * self.sides + 1].tolist()
        return Whole(
            tuple(
                Masked(self._tokens[start:end].astype(np.int64), self._mask[start:end].astype(np.bool_))
                for start, end in pairwise(ends)
            )
        )

    @cached_property
    def _ends(self) -> Any:
        return np.concatenate([[0], np.fromfile(self.folder / ENDS, dtype=INDEX_TYPE)]).astype(np.int64)

    @cached_property
    def _tokens(self) -> Any:
        return np.memmap(self.folder / TOKENS, dtype=self.type, mode="r")

    @cached_property
    def _mask(self) -> Any:
        return np.memmap(self.folder / MASKS, dtype=np.uint8, mode="r")
