"""Looks through a git bundle from an untrusted hand before git unpacks it: what comes out must be small enough.

A few kilobytes can hold a file of zeros that fills a disk, deltas upon deltas, or folders of folders that are all the
same one (a "git bomb"). Only the form that gitpack.py writes is taken: one commit without parents, objects whole, no
deltas. Formats: gitformat-bundle(5) v2, gitformat-pack(5) v2.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import DataError
from release.gitpack import KINDS, object_id

MAX_BUNDLE_BYTES = 256 << 20
MAX_OBJECT_BYTES = 32 << 20
MAX_FILES, MAX_DEPTH = 200_000, 100
MAX_TREE_BYTES = 4 << 30
SIGNATURE = b"# v2 git bundle\n"
MAX_HEADER_BYTES = 4096
# Head, check sum and block headers of a zlib stream, for small objects.
STREAM_BYTES = 64
ID_BYTES, FOLDER = 20, b"40000"
NAMES = {number: kind for kind, number in KINDS.items()}


@dataclass(slots=True)
class Contents:
    """What a pack holds: the trees, the sizes of the files, and the tree of the only commit."""

    trees: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, int] = field(default_factory=dict)
    roots: list[str] = field(default_factory=list)

    def add(self, kind: str, content: bytes) -> None:
        """Take an object."""
        if kind == "tree":
            self.trees[object_id(kind, content)] = content
        elif kind == "blob":
            self.blobs[object_id(kind, content)] = len(content)
        else:
            self.roots.append(content[5:45].decode("ascii", errors="replace"))


def check_git_bundle(path: Path) -> None:
    """Raise DataError if a git bundle would unpack to more than code ever has, or is none of gitpack.py's form."""
    try:
        size = path.stat().st_size
        if size > MAX_BUNDLE_BYTES:
            raise ValueError(f"it has {size} bytes, and code has at most {MAX_BUNDLE_BYTES}")
        content = path.read_bytes()
        found = Contents()
        for kind, unpacked in _objects(content):
            found.add(kind, unpacked)
        if len(found.roots) != 1:
            raise ValueError(f"it has {len(found.roots)} commits, and a release's code is one")
        files, unpacked_bytes = _weigh(found, found.roots[0], {}, depth=0)
    except OSError as error:
        raise DataError(f"{path} is missing or damaged: {error}; get the bundle again") from error
    except (ValueError, zlib.error, IndexError, KeyError) as error:
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
        raise DataError(f"{path} is not cloned: {said}; do not use this bundle") from error
    if files > MAX_FILES or unpacked_bytes > MAX_TREE_BYTES:
        raise DataError(
            f"{path} is not cloned: it unpacks to {files} files of {unpacked_bytes} bytes, and code has at most "
            f"{MAX_FILES} of {MAX_TREE_BYTES}; do not use this bundle"
        )


def _objects(content: bytes) -> Iterator[tuple[str, bytes]]:
    """The objects of a bundle's pack, each unpacked; none of more than MAX_OBJECT_BYTES is."""
    start = content.find(b"\n\n", 0, MAX_HEADER_BYTES) + 2
    if not content.startswith(SIGNATURE) or start < len(SIGNATURE) or content[start : start + 8] != b"PACK\0\0\0\2":
        raise ValueError("it is no git bundle of version 2")
    view, at = memoryview(content), start + 12
    for _ in range(int.from_bytes(content[start + 8 : start + 12], "big")):
        number, size, at = _header(content, at)
        if number not in NAMES:
            raise ValueError(f"it holds an object of kind {number}, and code is packed whole, without deltas")
        if size > MAX_OBJECT_BYTES:
            raise ValueError(f"it holds a file of {size} bytes, and code has none above {MAX_OBJECT_BYTES}")
        # What no compression makes longer; more is not looked at, nor copied.
        window = view[at : at + size + size // 1000 + STREAM_BYTES]
        inflate = zlib.decompressobj()
        unpacked = inflate.decompress(window, size + 1)
        if len(unpacked) != size or not inflate.eof:
            raise ValueError(f"an object says that it has {size} bytes, and unpacks to others")
        at += len(window) - len(inflate.unused_data)
        yield NAMES[number], unpacked
    if at != len(content) - ID_BYTES:
        raise ValueError("something lies behind its objects, or they end early")


def _header(content: bytes, at: int) -> tuple[int, int, int]:
    """An object's kind and size, and where its content begins."""
    byte = content[at]
    number, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 128:
        at += 1
        byte = content[at]
        size |= (byte & 127) << shift
        shift += 7
        if shift > 64:
            raise ValueError("an object's size has no end")
    return number, size, at + 1


def _weigh(found: Contents, tree: str, weighed: dict[str, tuple[int, int]], *, depth: int) -> tuple[int, int]:
    """Files and bytes that a folder unpacks to; each folder is looked at once, however often it stands there."""
    if depth > MAX_DEPTH:
        raise ValueError(f"its folders lie more than {MAX_DEPTH} deep")
    if tree not in weighed:
        files = size = 0
        for mode, name in _entries(found.trees[tree]):
            more = _weigh(found, name, weighed, depth=depth + 1) if mode == FOLDER else (1, found.blobs[name])
            files, size = files + more[0], size + more[1]
        weighed[tree] = files, size
    return weighed[tree]


def _entries(tree: bytes) -> Iterator[tuple[bytes, str]]:
    at = 0
    while at < len(tree):
        space, end = tree.index(b" ", at), tree.index(b"\0", at)
        yield tree[at:space].lstrip(b"0"), tree[end + 1 : end + 1 + ID_BYTES].hex()
        at = end + 1 + ID_BYTES
