"""Reads safetensors files without torch: which tensors, and where two files first differ.

Format: 8 bytes little-endian length, a JSON header of that length, then the bytes of the tensors.
"""

import json
import math
import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.errors import DataError
from core.hashing import sha256_hex
from core.merkle import CHUNK_BYTES, chunk_root, leaf_hash, named_root

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor of a file: its kind, shape, and where its bytes lie."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    def read(self) -> bytes:
        """The content."""
        with self.path.open("rb") as stream:
            stream.seek(self.start)
            return stream.read(self.end - self.start)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; contents are read when asked for.

    Raises DataError if the file is missing or none of this format.
    """
    try:
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(LENGTH_BYTES), "little")
            header: dict[str, Any] = json.loads(stream.read(min(size, MAX_HEADER_BYTES)))
        header.pop("__metadata__", None)
        return {name: _tensor(path, fields, start=LENGTH_BYTES + size) for name, fields in sorted(header.items())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is missing or no safetensors file: {error}; get it again") from error


def count_parameters(paths: Iterable[Path]) -> int:
    """Elements of all tensors of some files, from their headers. Raises DataError if one is no such file."""
    return sum(math.prod(tensor.shape) for path in paths for tensor in read_tensors(path).values())


def contents(path: Path, *, divisors: Mapping[str, float] = MappingProxyType({})) -> Counter[tuple[str, str]]:
    """How often each content (dtype, SHA-256) occurs among a file's tensors, whatever their names.

    Tensors of fp32 that `divisors` names are divided first, as stage export divides them.
    """
    found: Counter[tuple[str, str]] = Counter()
    for name, tensor in read_tensors(path).items():
        content = tensor.read()
        found[tensor.dtype, sha256_hex(_divided(content, divisors[name]) if name in divisors else content)] += 1
    return found


def state_root(paths: Iterable[Path]) -> str:
    """The Merkle root over every tensor of some files by name, as a ledger names it (core/merkle.py)."""
    tensors = {name: tensor for path in paths for name, tensor in read_tensors(path).items()}
    return named_root({name: chunk_root(memoryview(tensor.read())) for name, tensor in tensors.items()})


def chunk_hashes(paths: Iterable[Path]) -> dict[str, list[str]]:
    """The hash of every chunk of every tensor of some files, by the tensor's name (core/merkle.py)."""
    hashes = {}
    for path in paths:
        for name, tensor in read_tensors(path).items():
            content = memoryview(tensor.read())
            places = range(0, len(content), CHUNK_BYTES)
            hashes[name] = [leaf_hash(content[at : at + CHUNK_BYTES]).hex() for at in places]
    return hashes


def first_different_tensor(left: Path, right: Path) -> str:
    """The first tensor, by name, in which two files differ, and how; an empty string if they have equal tensors."""
    ours, theirs = read_tensors(left), read_tensors(right)
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            return f"tensor {name} is only on the {'left' if name in ours else 'right'}"
        difference = _difference(ours[name], theirs[name])
        if difference:
            return f"tensor {name}, {difference}"
    return ""


def _divided(content: bytes, divisor: float) -> bytes:
    """Fp32 values, divided as fp32: a quotient in fp64 that is rounded to fp32 is the one that fp32 gives."""
    values, rounded = array("f", content), array("f", [divisor])[0]
    return array("f", (value / rounded for value in values)).tobytes()


def _tensor(path: Path, fields: dict[str, Any], *, start: int) -> Tensor:
    first, last = fields["data_offsets"]
    return Tensor(
        path=path, dtype=fields["dtype"], shape=tuple(map(int, fields["shape"])), start=start + first, end=start + last
    )


def _difference(one: Tensor, other: Tensor) -> str:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return f"{one.dtype} {list(one.shape)} against {other.dtype} {list(other.shape)}"
    left, right = one.read(), other.read()
    if left == right:
        return ""
    width = len(left) // max(math.prod(one.shape), 1)
    at = next((at for at in range(0, len(left), width) if left[at : at + width] != right[at : at + width]), len(right))
    ours, theirs = (_say(content[at : at + width], one.dtype) for content in (left, right))
    return f"element {at // width}: {ours} against {theirs}"


def _say(content: bytes, dtype: str) -> str:
    width = {"F32": 4, "F64": 8}.get(dtype)
    if width == len(content):
        value: float = struct.unpack("<f" if width == 4 else "<d", content)[0]
        return f"{value.hex()} ({value:.9g})"
    return f"0x{content[::-1].hex()}"
