"""The parts that a published release has: what is to be where, and by which hash one knows it.

The files of the manifest; what lies outside the root (witness and attestations), listed with its hashes in mirrors.json
so that transport can be checked; mirrors.json itself, which also says where the release lies; and MANIFEST.jsonl, whose
hash is the root. mirrors.json is no part of the root: a bundle cannot hold its own address, and mirrors come and go.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import ConfigError, DataError
from core.hashing import READ_BYTES, canonical_json, hash_file, sha256_hex
from release.manifest import MIRRORS, NAME, OUTSIDE, first_flaw, is_inside, parse_manifest

FORMAT = "wholegrain-mirrors-1"
# More than any honest list has; whoever serves one should not fill our memory.
MAX_LIST_BYTES = 1 << 28
UNKNOWN = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file of a release: its path, its size (UNKNOWN if nobody said), and its digest.

    `algorithm` is one of hashlib's, or `git`: SHA-1 over git's header and the content, which needs the size.
    """

    path: str
    bytes: int
    digest: str
    algorithm: str = "sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """mirrors.json: the release's name and root, where it lies, and the files outside the root."""

    name: str
    root: str
    mirrors: tuple[str, ...]
    outside: tuple[Part, ...]

    def to_json(self) -> bytes:
        """The file's content: the same for the same facts."""
        rows = [{"path": part.path, "bytes": part.bytes, "sha256": part.digest} for part in self.outside]
        record = {"format": FORMAT, "name": self.name, "root": self.root, "mirrors": self.mirrors, "outside": rows}
        return canonical_json(record) + b"\n"


class Digest:
    """Hashes a part's bytes as they pass, and counts them."""

    def __init__(self, part: Part) -> None:
        self._part, self.bytes = part, 0
        self._hash = hashlib.new("sha1" if part.algorithm == "git" else part.algorithm, usedforsecurity=False)
        if part.algorithm == "git":
            self._hash.update(b"blob %d\0" % part.bytes)

    def update(self, block: bytes) -> None:
        """Take the next bytes."""
        self._hash.update(block)
        self.bytes += len(block)

    @property
    def is_over(self) -> bool:
        """Whether there were more bytes than the part has."""
        return self._part.bytes != UNKNOWN and self.bytes > self._part.bytes

    @property
    def flaw(self) -> str:
        """What the bytes have that the part has not; an empty string if they are the part's."""
        if self._part.bytes not in (UNKNOWN, self.bytes):
            return f"has {self.bytes} bytes, not {self._part.bytes}"
        found = self._hash.hexdigest()
        return "" if found == self._part.digest else f"has {self._part.algorithm} {found}, not {self._part.digest}"


def flaw_of_file(path: Path, part: Part) -> str:
    """What a file has that the part has not; an empty string if it is the part."""
    digest = Digest(part)
    with path.open("rb") as stream:
        while (block := stream.read(READ_BYTES)) and not digest.is_over:
            digest.update(block)
    return digest.flaw


def manifest_parts(content: bytes, *, where: str) -> list[Part]:
    """The parts that a manifest's content lists. Raises DataError if it cannot be used."""
    entries = parse_manifest(content, where=where)
    parts = [Part(path=entry.path, bytes=entry.bytes, digest=entry.sha256) for entry in entries]
    check_paths([part.path for part in parts], where=where)
    reserved = next((part.path for part in parts if part.path == MIRRORS or part.path.startswith(OUTSIDE)), "")
    if reserved:
        raise DataError(f"{where} lists {reserved}, which lies outside the root; do not use this release")
    return parts


def check_paths(names: Sequence[str], *, where: str) -> None:
    """Raises DataError if a path leads out of its folder, or one is both a file and a folder."""
    taken = set(names)
    for name in names:
        if not is_inside(name):
            raise DataError(f"{where} names {name!r}, which leads out of the release; do not use it")
        if any(parent.as_posix() in taken for parent in PurePosixPath(name).parents):
            raise DataError(f"{where} names {name!r} below another file; do not use this release")


def parse_mirrors(content: bytes, *, where: str) -> Mirrors:
    """Read mirrors.json. Raises DataError if it is none, or names a file that belongs inside the root."""
    try:
        record = json.loads(content)
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']!r}")
        outside = tuple(_outside(row) for row in record["outside"])
        mirrors = tuple(str(address) for address in record["mirrors"])
        read = Mirrors(name=str(record["name"]), root=str(record["root"]), mirrors=mirrors, outside=outside)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{where} is damaged: {type(error).__name__} {error}; get it again") from error
    check_paths([part.path for part in outside], where=where)
    strange = next((part.path for part in outside if not part.path.startswith(OUTSIDE)), "")
    if strange:
        raise DataError(f"{where} names {strange}, which the manifest has to list; do not use this release")
    return read


def _outside(row: dict[str, Any]) -> Part:
    return Part(path=str(row["path"]), bytes=int(row["bytes"]), digest=str(row["sha256"]))


def add_mirrors(folder: Path, addresses: Iterable[str]) -> Mirrors:
    """What mirrors.json of a bundle says with further addresses: those it has, then the new ones."""
    path = folder / MIRRORS
    root = hash_file(folder / NAME)
    before = parse_mirrors(path.read_bytes(), where=str(path)).mirrors if path.is_file() else ()
    return Mirrors(
        name=folder.name,
        root=root,
        mirrors=tuple(dict.fromkeys((*before, *addresses))),
        outside=tuple(part_of(folder, name) for name in _names_outside(folder)),
    )


def bundle_parts(folder: Path) -> list[Part]:
    """The parts that lie in a bundle's folder, without manifest and mirrors.json.

    Raises ConfigError if the folder is no bundle, DataError if it is not what its manifest says.
    """
    if not (folder / NAME).is_file():
        raise ConfigError(f"{folder} is no bundle; give the folder that holds {NAME}")
    flaw = first_flaw(folder)
    if flaw:
        raise DataError(f"{folder}: {flaw}; a release that is not whole is not published")
    inside = manifest_parts((folder / NAME).read_bytes(), where=str(folder / NAME))
    return [*inside, *(part_of(folder, name) for name in _names_outside(folder))]


def part_of(folder: Path, name: str) -> Part:
    """The part that a file is."""
    path = folder / name
    return Part(path=name, bytes=path.stat().st_size, digest=hash_file(path))


def part_of_bytes(name: str, content: bytes) -> Part:
    """The part that some bytes are."""
    return Part(path=name, bytes=len(content), digest=sha256_hex(content))


def _names_outside(folder: Path) -> list[str]:
    found = [path for top in OUTSIDE for path in (folder / top).rglob("*")]
    link = next((path for path in found if path.is_symlink()), None)
    if link:
        raise DataError(f"{link} is a link, which a bundle never holds; remove it")
    return sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())
