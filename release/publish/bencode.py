"""Bencode, the form of .torrent files (BEP 3): integers, byte strings, lists, and mappings sorted by key."""

from typing import Any

from core.errors import DataError

MAX_DEPTH = 64


def encode(value: Any) -> bytes:
    """The one encoding of a value of ints, bytes, strs (as UTF-8), lists and dicts with bytes or str keys."""
    if isinstance(value, int) and not isinstance(value, bool):
        return b"i%de" % value
    if isinstance(value, str):
        return encode(value.encode())
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, dict):
        items = sorted((key.encode() if isinstance(key, str) else key, item) for key, item in value.items())
        return b"d" + b"".join(encode(key) + encode(item) for key, item in items) + b"e"
    raise TypeError(f"bencode has no {type(value).__name__}")


def decode(content: bytes, *, where: str) -> Any:
    """The value of an encoding; strings and keys stay bytes. Raises DataError if it is none, or not the only one."""
    try:
        value, end = _decode(content, 0, 0)
        if end != len(content) or encode(value) != content:
            raise ValueError("something follows it, or it is not written as it has to be")
    except (ValueError, IndexError) as error:
        raise DataError(f"{where} is no torrent: {error}; get it again") from error
    return value


def _decode(content: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    kind = content[at : at + 1]
    if kind == b"i":
        end = content.index(b"e", at)
        return int(content[at + 1 : end]), end + 1
    if kind == b"l":
        items, at = [], at + 1
        while content[at : at + 1] != b"e":
            item, at = _decode(content, at, depth + 1)
            items.append(item)
        return items, at + 1
    if kind == b"d":
        rows, at = {}, at + 1
        while content[at : at + 1] != b"e":
            key, at = _decode(content, at, depth + 1)
            if not isinstance(key, bytes):
                raise ValueError("a key is no string")
            rows[key], at = _decode(content, at, depth + 1)
        return rows, at + 1
    colon = content.index(b":", at)
    end = colon + 1 + int(content[at:colon])
    if not colon < end <= len(content):
        raise ValueError("a string is longer than the file")
    return content[colon + 1 : end], end
