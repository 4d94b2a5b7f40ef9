"""safetensors files of fp32 tensors in which every byte has its place before any is written.

So any number of ranks may write into one file at once, each what it owns, and the file is the same at every placement:
byte for byte what the safetensors library writes for the same tensors, in the order of their names. Free of torch.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

FP32_BYTES = 4
LENGTH_BYTES = 8
# What the safetensors library reads at most.
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Layout:
    """The first bytes of a file, where each tensor begins, and the file's size; in bytes from the file's start."""

    header: bytes
    places: Mapping[str, int]
    size: int


def layout_of(shapes: Mapping[str, Sequence[int]]) -> Layout:
    """Where the tensors of these shapes lie."""
    entries: dict[str, object] = {}
    places, end = {}, 0
    for name in sorted(shapes):
        places[name], start = end, end
        end += math.prod(shapes[name]) * FP32_BYTES
        entries[name] = {"dtype": "F32", "shape": list(shapes[name]), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    header = len(text).to_bytes(LENGTH_BYTES, "little") + text
    return Layout(header, {name: len(header) + at for name, at in places.items()}, len(header) + end)


def allocate(path: Path, layout: Layout) -> None:
    """Make a file of the layout's size whose blocks the disk has set aside. Raises OSError if it is full."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.posix_fallocate(handle, 0, layout.size)
    finally:
        os.close(handle)


def write_at(handle: int, content: memoryview, place: int) -> None:
    """Write all of the content at a place of an open file. Raises OSError."""
    done = 0
    while done < len(content):
        done += os.pwrite(handle, content[done:], place + done)


def read_header(stream: BinaryIO) -> tuple[int, dict[str, Any]]:
    """Where the tensors begin in a file, and what its header says of each. Raises ValueError if it cannot be read."""
    length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes")
    return LENGTH_BYTES + length, json.loads(stream.read(length))
