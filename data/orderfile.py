"""order.json as it is written: sources with their shards, phases, limits, test vectors, and a seal over all of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import DataError
from core.hashing import canonical_json, hash_value, sha256_hex
from data.chat import Form
from data.loader import RECORD, form_of
from data.order import FORMAT, MASKED_FORMAT, order_of, vectors
from data.shards import Sidecar

Record = dict[str, Any]


def describe(source: str, sidecars: Sequence[Sidecar], *, seq_len: int) -> Record:
    """A source as order.json lists it. Raises DataError if its tokens do not fill one window."""
    tokens = sum(sidecar["tokens"] for sidecar in sidecars)
    windows = windows_of(tokens, seq_len=seq_len)
    if windows < 1:
        raise DataError(
            f"source {source} has {tokens} tokens, fewer than one window of {seq_len + 1}; "
            "take it out of pack.weights, or lower pack.seq_len"
        )
    return {
        "name": source,
        "tokens": tokens,
        "documents": sum(sidecar["documents"] for sidecar in sidecars),
        "windows": windows,
        "unused_tokens": tokens - 1 - windows * seq_len,
        "shards": list(sidecars),
    }


def windows_of(tokens: int, *, seq_len: int) -> int:
    """How many windows a source's tokens fill: each has seq_len of its own and shares one with the next."""
    return max(0, tokens - 1) // seq_len


def write_order(folder: Path, record: Mapping[str, Any]) -> str:
    """Add test vectors and seal to a record, write order.json, and return its SHA-256, the data root."""
    format = FORMAT if form_of(record) is Form.TEXT else MASKED_FORMAT
    whole = {"format": format, **record, "vectors": vectors(order_of(record))}
    content = canonical_json({**whole, "seal": hash_value(whole)})
    (folder / RECORD).write_bytes(content)
    return sha256_hex(content)
