"""Near-duplicates over the corpus: three phases that write bands, verify candidates, and choose what survives.

A document's shingles are written once, so that verifying reads those of the candidates from the disk (as much as the
text and a third) and keeps no text. What each task holds is said with it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from data.chat import contents_of
from data.cleaning.buckets import BucketWriter, bucket_of, read_frames
from data.cleaning.settle import read_kept
from data.engine import Step
from data.steps.fuzzy import Components, join_verified
from data.steps.minhash import FuzzyConfig, Hashes, Permutations, bands_of, jaccard_reaches, shingles_of

SHINGLES = "shingles.bin"
ENDS = "ends.bin"
NAMES = "names.bin"
EDGES = "edges.bin"
KEY_BYTES = 16
# A document by the rank of its source and its key, big-endian, so that their bytes sort as they survive.
NAME = np.dtype([("rank", ">u4"), ("key", ">u8", 2)])
# A band of a document: the hash, and the document by its bucket and its number there.
BAND = np.dtype([("hash", "<u8"), ("bucket", "<u4"), ("number", "<u4")])
BAND_FORM = Struct("<QII")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteBands(Step):
    """Writes the bands of the documents of one bucket by their hash, and their names and shingles.

    Holds one document, the names and ends, and what waits to be written.
    """

    name: ClassVar[str] = "bands"
    settled: list[Path]
    order: list[str]
    config: FuzzyConfig
    buckets: int

    def run(self, task: int, out: Path) -> None:
        """Write the bands of bucket `task`."""
        permutations = Permutations.drawn(self.config)
        names, ends, end = bytearray(), [], 0
        with BucketWriter(out, buckets=self.buckets) as buckets, (out / SHINGLES).open("xb") as stream:
            for number, row in enumerate(read_kept([self.settled[task]], self.order)):
                shingles = shingles_of(contents_of(row.text), ngram=self.config.ngram)
                stream.write(shingles.astype("<u8").tobytes())
                end += len(shingles)
                ends.append(end)
                names += self.order.index(row.source).to_bytes(4, "big") + bytes.fromhex(row.key)
                for band in bands_of(shingles, self.config, permutations).tolist():
                    buckets.add((band * self.buckets) >> 64, BAND_FORM.pack(band, task, number))
        (out / NAMES).write_bytes(names)
        (out / ENDS).write_bytes(np.array(ends, dtype="<u8").tobytes())


class Banded:
    """The names and shingles of the documents of one bucket, on the disk: what is not asked for is not read."""

    def __init__(self, folder: Path) -> None:
        self._names = _mapped(folder / NAMES, NAME)
        self._ends = _mapped(folder / ENDS, np.dtype("<u8"))
        self._shingles = _mapped(folder / SHINGLES, np.dtype("<u8"))

    def name(self, number: int) -> bytes:
        """Rank and key of a document."""
        return bytes(self._names[number].tobytes())

    def shingles(self, number: int) -> Hashes:
        """The shingles of a document."""
        start = int(self._ends[number - 1]) if number else 0
        found: Hashes = np.asarray(self._shingles[start : int(self._ends[number])], dtype=np.uint64)
        return found


def _mapped(path: Path, kind: "np.dtype[np.generic]") -> NDArray[np.generic]:
    # An empty file cannot be mapped.
    return np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, dtype=kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyPairs(Step):
    """Writes which documents of one bucket of bands are joined, as pairs of names that span the components.

    Holds the records of that bucket, 16 bytes for each band and indices, and the pairs that were refused.
    """

    name: ClassVar[str] = "verify pairs"
    banded: list[Path]
    config: FuzzyConfig

    def run(self, task: int, out: Path) -> None:
        """Verify the pairs of bucket `task` of the hashes."""
        bands = np.frombuffer(b"".join(read_frames(self.banded, task)), dtype=BAND)
        documents, groups = candidates(bands)
        opened: dict[int, Banded] = {}
        for bucket, _ in documents:
            if bucket not in opened:
                opened[bucket] = Banded(self.banded[bucket])

        def is_near(*pair: int) -> bool:
            one, other = (opened[bucket].shingles(number) for bucket, number in (documents[at] for at in pair))
            return jaccard_reaches(one, other, self.config.min_jaccard)

        names = [opened[bucket].name(number) for bucket, number in documents]
        joined = join_verified(len(documents), groups, is_near).joined()
        (out / EDGES).write_bytes(b"".join(sorted(names[one] + names[root] for one, root in joined)))


def candidates(bands: NDArray[np.void]) -> tuple[list[tuple[int, int]], Iterator[list[int]]]:
    """The documents that share a band with another, as (bucket, number), and the groups that do, as places in it."""
    _, band, sizes = np.unique(bands["hash"], return_inverse=True, return_counts=True)
    shared, band = bands[sizes[band] > 1], band[sizes[band] > 1]
    names = shared["bucket"].astype(np.uint64) << np.uint64(32) | shared["number"]
    documents, places = np.unique(names, return_inverse=True)
    by_band = np.argsort(band, kind="stable")
    starts = np.flatnonzero(np.diff(band[by_band])) + 1
    groups = (group.tolist() for group in np.split(places[by_band], starts) if len(group))
    return [(int(one) >> 32, int(one) & 0xFFFFFFFF) for one in documents], groups


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseSurvivors(Step):
    """Writes, by the key of every near-duplicate that goes, the key of the document that stays for it.

    One task; it holds 40 bytes for every joined pair, and a number for every document in one: the corpus apart from
    those leaves no trace in its memory.
    """

    name: ClassVar[str] = "survivors"
    verified: list[Path]
    buckets: int

    def run(self, task: int, out: Path) -> None:
        """Join all pairs and write what goes."""
        edges = b"".join((folder / EDGES).read_bytes() for folder in self.verified)
        size = NAME.itemsize
        found = np.frombuffer(edges, dtype=f"V{size}")
        names = sorted({name.tobytes() for name in found})
        place = {name: number for number, name in enumerate(names)}
        components = Components(len(names))
        for one, other in zip(found[::2], found[1::2], strict=True):
            components.join(place[one.tobytes()], place[other.tobytes()])
        with BucketWriter(out, buckets=self.buckets) as writer:
            for number, root in components.joined():
                key = names[number][-KEY_BYTES:]
                writer.add(bucket_of(key.hex(), self.buckets), key + names[root][-KEY_BYTES:])


def read_twins(folders: Iterable[Path], bucket: int) -> dict[str, str]:
    """The keys of a bucket's near-duplicates that go, each with the key of what stays."""
    twins = {}
    for frame in read_frames(folders, bucket):
        for at in range(0, len(frame), 2 * KEY_BYTES):
            twins[frame[at : at + KEY_BYTES].hex()] = frame[at + KEY_BYTES : at + 2 * KEY_BYTES].hex()
    return twins
