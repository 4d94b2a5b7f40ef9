"""What a task has for the tasks of the next phase: bytes by bucket, in one file that any of them reads its share of.

`buckets.zst` is a row of zstd frames, each with whole records of one bucket, and `buckets.json` lists for each frame
its bucket, offset and length. So a phase of many tasks and buckets leaves few files, and a task holds no more than
HELD_BYTES of them.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import zstandard

from core.errors import RetryError
from core.hashing import canonical_json

FRAMES = "buckets.zst"
INDEX = "buckets.json"
# Level 1 costs little beside any step and saves two thirds of the disk.
LEVEL = 1
HELD_BYTES = 32 << 20
FRAME_BYTES = 1 << 20
LEAST_FRAME_BYTES = 16 << 10


def bucket_of(key: str, buckets: int) -> int:
    """The bucket of a key in hex digits: buckets are consecutive ranges of keys."""
    return (int(key[:8], 16) * buckets) >> 32


class BucketWriter:
    """Takes records in any order. The bytes depend on the records, their order, and zstd's version."""

    def __init__(self, folder: Path, *, buckets: int) -> None:
        self._folder = folder
        self._held = [bytearray() for _ in range(buckets)]
        self._limit = min(max(HELD_BYTES // buckets, LEAST_FRAME_BYTES), FRAME_BYTES)
        self._frames: list[tuple[int, int, int]] = []
        self._zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._stream = (folder / FRAMES).open("xb")

    def __enter__(self) -> "BucketWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._stream:
            if kind is None:
                for bucket in range(len(self._held)):
                    self._flush(bucket)
                (self._folder / INDEX).write_bytes(canonical_json(self._frames))

    def add(self, bucket: int, record: bytes) -> None:
        """Put a record behind those of its bucket."""
        held = self._held[bucket]
        held += record
        if len(held) >= self._limit:
            self._flush(bucket)

    def _flush(self, bucket: int) -> None:
        held = self._held[bucket]
        if held:
            frame = self._zstd.compress(bytes(held))
            self._frames.append((bucket, self._stream.tell(), len(frame)))
            self._stream.write(frame)
            held.clear()


def read_frames(folders: Iterable[Path], bucket: int) -> Iterator[bytes]:
    """The records of a bucket that the tasks with these folders wrote, some whole ones at a time.

    Raises RetryError if a folder is damaged: the engine makes it anew.
    """
    for folder in folders:
        places = [(offset, size) for of, offset, size in json.loads((folder / INDEX).read_bytes()) if of == bucket]
        if places:
            with (folder / FRAMES).open("rb") as stream:
                for offset, size in places:
                    stream.seek(offset)
                    try:
                        yield zstandard.ZstdDecompressor().decompress(stream.read(size))
                    except zstandard.ZstdError as error:
                        raise RetryError(
                            f"{folder / FRAMES} is damaged: {error}; run the same command again"
                        ) from error


def read_lines(folders: Iterable[Path], bucket: int) -> Iterator[bytes]:
    """The records of a bucket where they are lines, without their newline."""
    for frame in read_frames(folders, bucket):
        yield from frame[:-1].split(b"\n")
