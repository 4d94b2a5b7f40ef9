"""Windows of whole documents, for conversations and pairs: how they are filled, written and read back.

A window holds at most seq_len + 1 tokens of its own, shares none with the next, and no document is cut. It is filled up
with bos, which is no target here: each is a document of its own for attention, so nothing sees another's padding.

Conversations are put together best-fit: by falling length, then by key, each into the window with the least room that
it fits into, of those the one opened before (Johnson 1974, doi:10.1016/S0022-0000(74)80026-7). A pair is two windows,
each a conversation: that with the chosen answer, then the other.

In the shards of a source the documents stand in the order of their windows. Beside each shard's files lies `NAME.mask`,
one byte a token: 1 for a token that counts as a target. `SOURCE.windows` holds of every window its end, in tokens from
the start of the source's stream, and how many of its targets count, as 64-bit little-endian integers. The hashes of
both are in order.json.
"""

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.hashing import hash_file
from data.chat import Form, Masked
from data.shards import INDEX_TYPE, Sidecar, TokenStream, write_shard

SUFFIX = ".windows"

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Whole:
    """A document of a pack: one conversation, or the two of a pair."""

    sides: tuple[Masked, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all of it."""
        return sum(side.ids.size for side in self.sides)


def fill_windows(lengths: Sequence[int], *, room: int) -> list[list[int]]:
    """Which documents, by their place in `lengths`, share a window of `room` tokens; each must fit into one.

    The order of documents of one length is that in which they are given.
    """
    windows: list[list[int]] = []
    open_by_room: dict[int, list[int]] = {}  # the number of the window opened first comes first
    rooms: list[int] = []  # those that some window has left, rising
    for at in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        length = lengths[at]
        assert 0 < length <= room, f"a document of {length} tokens does not fit into a window of {room}"
        place = bisect_left(rooms, length)
        if place == len(rooms):
            windows.append([at])
            number, left = len(windows) - 1, room - length
        else:
            found = rooms[place]
            number, left = heappop(open_by_room[found]), found - length
            windows[number].append(at)
            if not open_by_room[found]:
                del open_by_room[found], rooms[place]
        if left:
            if left not in open_by_room:
                open_by_room[left] = []
                insort(rooms, left)
            heappush(open_by_room[left], number)
    return windows


def write_wholes(
    folder: Path,
    source: str,
    windows: Iterable[Sequence[Whole]],
    *,
    vocab_size: int,
    shard_tokens: int,
    seq_len: int,
    form: Form,
) -> Record:
    """Write a source's windows, each with the documents in it, as shards, and return what order.json says of it.

    A window is never split between shards. Raises DataError if there are no windows.
    """
    sidecars: list[Sidecar] = []
    layout: list[tuple[int, int]] = []
    for held in _fill(windows, shard_tokens):
        wholes = [whole for window in held for whole in window]
        ids = [np.concatenate([side.ids for side in whole.sides]) for whole in wholes]
        masks = [side.mask for whole in wholes for side in whole.sides]
        sidecars.append(write_shard(folder, source, len(sidecars), ids, vocab_size=vocab_size, masks=masks))
        layout += [_size(row) for window in held for row in _rows(window, form)]
    if not layout:
        raise DataError(f"source {source} has no {form.value} that fit a window; take it out of pack.weights")
    sizes = np.array(layout, dtype=INDEX_TYPE)
    tokens, targets = sizes.sum(axis=0).tolist()
    content = np.stack([sizes[:, 0].cumsum(), sizes[:, 1]], axis=1).astype(INDEX_TYPE).tobytes()
    (folder / f"{source}{SUFFIX}").write_bytes(content)
    return {
        "name": source,
        "tokens": tokens,
        "documents": sum(sidecar["documents"] for sidecar in sidecars),
        "windows": len(layout) // rows_of(form),
        "targets": targets,
        "padding_tokens": len(layout) * (seq_len + 1) - tokens,
        "layout": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()},
        "shards": sidecars,
    }


def _rows(window: Sequence[Whole], form: Form) -> list[list[Masked]]:
    """What stands in each row of a window: all its conversations in one, or each side of its pair in one."""
    sides = [side for whole in window for side in whole.sides]
    return [[side] for side in sides] if form is Form.PAIRS else [sides]


def _size(row: Sequence[Masked]) -> tuple[int, int]:
    return sum(side.ids.size for side in row), sum(int(side.mask.sum()) for side in row)


def rows_of(form: Form) -> int:
    """How many rows of a batch a window of the data order is: two of a pair."""
    return 2 if form is Form.PAIRS else 1


def _fill(windows: Iterable[Sequence[Whole]], shard_tokens: int) -> Iterator[list[Sequence[Whole]]]:
    held: list[Sequence[Whole]] = []
    count = 0
    for window in windows:
        size = sum(whole.tokens for whole in window)
        if held and count + size > shard_tokens:
            yield held
            held, count = [], 0
        held.append(window)
        count += size
    if held:
        yield held


class WholeWindows:
    """The windows of a source, read back: `rows` rows each, with the targets that count."""

    def __init__(self, folder: Path, source: Record, *, seq_len: int, bos_id: int, form: Form) -> None:
        self.rows = rows_of(form)
        self._seq_len, self._bos_id = seq_len, bos_id
        self._tokens = TokenStream(folder, source["shards"])
        self._masks = TokenStream(folder, source["shards"], suffix="mask")
        layout = np.fromfile(folder / f"{source['name']}{SUFFIX}", dtype=INDEX_TYPE).reshape(-1, 2).astype(np.int64)
        self._ends, self._targets = layout[:, 0], layout[:, 1]

    def ids(self, window: int) -> NDArray[np.int64]:
        """The ids [rows, T+1] of a window, filled up with bos."""
        return self._read(self._tokens, window, filler=self._bos_id)

    def counted(self, window: int) -> NDArray[np.bool_]:
        """Which of the targets [rows, T] of a window count."""
        return self._read(self._masks, window, filler=0)[:, 1:].astype(np.bool_)

    def target_count(self, window: int) -> int:
        """How many targets of all rows of a window count."""
        return int(self._targets[window * self.rows : (window + 1) * self.rows].sum())

    def _read(self, stream: TokenStream, window: int, *, filler: int) -> NDArray[np.int64]:
        read = np.full((self.rows, self._seq_len + 1), filler, dtype=np.int64)
        for row in range(self.rows):
            at = window * self.rows + row
            start, end = int(self._ends[at - 1]) if at else 0, int(self._ends[at])
            read[row, : end - start] = stream.read(start, end - start)
        return read


def verify_layout(folder: Path, source: Record) -> None:
    """Hold the ends of a source's windows against order.json. Raises DataError if they are missing or changed."""
    path = folder / f"{source['name']}{SUFFIX}"
    try:
        digest = hash_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}; pack again") from error
    if digest != source["layout"]["sha256"]:
        raise DataError(f"{path} has SHA-256 {digest}, order.json says {source['layout']['sha256']}; pack again")
