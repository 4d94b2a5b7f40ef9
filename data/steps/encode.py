"""Step encode of stage pack: the documents of one shard become token ids.

A task reads document shard `n`, whose documents must stand in the order of their keys, and writes `<bos> ids <eos>` of
each, one after the other, to `tokens.bin` (little-endian, as wide as the vocabulary needs), their ends in tokens to
`ends.idx`, their keys to `keys.txt`, one a line, and the size of their text in UTF-8 to `facts.json`.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np

from core.errors import DataError
from core.hashing import canonical_json
from data.chat import is_marked
from data.documents import read_documents
from data.engine import Step
from data.shards import INDEX_TYPE, Tokens, token_type
from data.tokenizer import Tokenizer

TOKENS, ENDS, KEYS, FACTS = "tokens.bin", "ends.idx", "keys.txt", "facts.json"


@dataclass(kw_only=True, slots=True)
class Encode(Step):
    """Tokenizes document shards with a SentencePiece model."""

    name: ClassVar[str] = "pack"
    shards: list[Path]
    model: Path

    def run(self, task: int, out: Path) -> None:
        """Encode one shard. Raises DataError if its documents are not in the order of their keys."""
        tokenizer = open_tokenizer(self.model)
        kind = token_type(tokenizer.vocab_size)
        keys: list[str] = []
        ends: list[int] = []
        end = text_bytes = 0
        with (out / TOKENS).open("wb") as stream:
            for document in read_documents(self.shards[task]):
                refuse_marked(document.text, where=self.shards[task])
                ids = [tokenizer.bos_id, *tokenizer.encode(document.text), tokenizer.eos_id]
                stream.write(np.array(ids, dtype=kind).tobytes())
                end += len(ids)
                text_bytes += len(document.text.encode())
                ends.append(end)
                keys.append(document.key)
        (out / ENDS).write_bytes(np.array(ends, dtype=INDEX_TYPE).tobytes())
        in_order = check_order(keys, where=self.shards[task])
        (out / KEYS).write_text("".join(f"{key}\n" for key in in_order), encoding="ascii")
        (out / FACTS).write_bytes(canonical_json({"text_bytes": text_bytes, "type": kind}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """What Encode made of one shard."""

    folder: Path
    keys: list[str]
    text_bytes: int
    type: str

    @classmethod
    def open(cls, folder: Path) -> "Encoded":
        """The result in the folder of a task."""
        keys = (folder / KEYS).read_text(encoding="ascii").split()
        return cls(folder=folder, keys=keys, **json.loads((folder / FACTS).read_bytes()))

    def documents(self) -> Iterator[Tokens]:
        """The token ids of every document, in their order."""
        tokens = np.fromfile(self.folder / TOKENS, dtype=self.type)
        ends = np.fromfile(self.folder / ENDS, dtype=INDEX_TYPE)
        for start, end in pairwise([0, *ends.tolist()]):
            yield tokens[start:end]


def check_order(keys: Iterable[str], *, where: Path) -> Iterator[str]:
    """The keys. Raises DataError at the first that does not come after the one before it; `where` is for the error."""
    previous = ""
    for key in keys:
        if key <= previous:
            raise DataError(f"document {key} is out of order or there twice in {where}; run stage clean again")
        previous = key
        yield key


def refuse_marked(text: str, *, where: Path) -> None:
    """Raise DataError for a conversation, of which the marks between messages would be trained on as text."""
    if is_marked(text):
        raise DataError(f"{where} holds conversations or pairs, not text; say so in pack.form")


@cache
def open_tokenizer(model: Path) -> Tokenizer:
    """The tokenizer of a model file, kept for the other shards of this process."""
    return Tokenizer.open(model)
