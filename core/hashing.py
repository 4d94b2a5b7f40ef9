"""One way to write JSON for hashing, and SHA-256 over it, over bytes and over files."""

import hashlib
import json
from pathlib import Path
from typing import Any

READ_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """Encode a JSON value in the one form that is hashed: sorted keys, no spaces, UTF-8, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def sha256_hex(content: bytes | bytearray) -> str:
    """SHA-256 of bytes, as 64 lower-case hex digits."""
    return hashlib.sha256(content).hexdigest()


def hash_value(value: Any) -> str:
    """SHA-256 of a JSON value's canonical form."""
    return sha256_hex(canonical_json(value))


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
