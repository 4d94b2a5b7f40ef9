"""MANIFEST.jsonl: every file of a folder by path, size, SHA-256, role and licence; its own SHA-256 is the root.

A bundle has two: the one at the top, whose hash is the bundle's root, leaves out the witness, which has its own, the
attestations, which are added later and checked by their signatures, mirrors.json, which says where copies lie, and
thin.json, which says what is here by reference only (thin.py).
"""

import json
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from core.artifact import ATTESTATIONS, WITNESS
from core.errors import DataError
from core.hashing import canonical_json, hash_file
from core.progress import Progress

NAME = "MANIFEST.jsonl"

# Folders that are no part of the root.
OUTSIDE = (f"{WITNESS}/", f"{ATTESTATIONS}/")
# A file that is none either: release/publish writes it beside the published files.
MIRRORS = "mirrors.json"
# Another, of a thin bundle; and the parts that may be absent from one.
THIN, THIN_FORMAT = "thin.json", "wholegrain-thin-1"
MAX_THIN_BYTES = 1 << 28
BIG_FOLDERS = ("checkpoints/", "data/pack/", "parents/start/", "parents/weights/", "weights/")
BIG_SUFFIXES = (".bin", ".gguf", ".idx", ".keys", ".mask", ".safetensors", ".windows")

# From a file's path in the folder: its role and its licence.
Describe = Callable[[str], tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a manifest."""

    path: str
    bytes: int
    sha256: str
    role: str
    license: str


def list_files(folder: Path, describe: Describe) -> list[Entry]:
    """Every file of a folder, hashed, by path. Raises DataError if the folder holds a link."""
    return [_entry(folder, name, describe) for name in sorted(_walk(folder))]


def write_manifest(folder: Path, entries: Iterable[Entry]) -> str:
    """Write a folder's manifest and return its root."""
    ordered = sorted(entries, key=lambda entry: entry.path)
    path = folder / NAME
    path.write_bytes(b"".join(canonical_json(asdict(entry)) + b"\n" for entry in ordered))
    return hash_file(path)


def read_manifest(folder: Path) -> list[Entry]:
    """The lines of a folder's manifest.

    Raises DataError if it is missing, damaged, not sorted, or names a path that would lead out of the folder.
    """
    path = folder / NAME
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} is missing or damaged: {error}; get the bundle again") from error
    return parse_manifest(content, where=str(path))


def parse_manifest(content: bytes, *, where: str) -> list[Entry]:
    """The lines of a manifest's content; `where` is said in errors. Raises DataError as read_manifest does."""
    try:
        entries = [Entry(**json.loads(row)) for row in content.splitlines()]
    except (ValueError, TypeError) as error:
        raise DataError(f"{where} is missing or damaged: {error}; get the bundle again") from error
    if not all(isinstance(entry.path, str) and type(entry.bytes) is int for entry in entries):
        raise DataError(f"{where} has a path or a size that is none; get the bundle again")
    names = [entry.path for entry in entries]
    for name in names:
        if not is_inside(name):
            raise DataError(f"{where} names {name!r}, which leads out of the bundle; do not use this bundle")
    if names != sorted(set(names)):
        raise DataError(f"{where} is not sorted by path or names one twice; get the bundle again")
    return entries


def manifest_root(folder: Path) -> str:
    """SHA-256 of a folder's manifest: of a bundle, its root."""
    return hash_file(folder / NAME)


def is_big(path: str) -> bool:
    """Whether a file is one that a thin bundle has by digest: shards, checkpoints, weights."""
    return path.startswith(BIG_FOLDERS) and path.endswith(BIG_SUFFIXES)


def read_absent(folder: Path) -> dict[str, Entry]:
    """What a thin bundle has by reference only and does not hold, by path; nothing of a full one.

    Raises DataError if thin.json is damaged, of another release, or says otherwise than the manifest.
    """
    path = folder / THIN
    if path.is_symlink():
        raise DataError(f"{path} is a link, which a bundle never holds; do not use this bundle")
    if not path.is_file():
        return {}
    listed = {entry.path: entry for entry in read_manifest(folder)}
    try:
        if path.stat().st_size > MAX_THIN_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        record = json.loads(path.read_bytes())
        if record["format"] != THIN_FORMAT or record["root"] != manifest_root(folder):
            raise ValueError("it is of another release")
        if not all(isinstance(address, str) for address in record["mirrors"]):
            raise ValueError("it has a mirror that is no address")
        rows = {str(row["path"]): (row["bytes"], row["sha256"]) for row in record["absent"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {error}; get the bundle again") from error
    for name, said in rows.items():
        if not is_big(name) or name not in listed or said != (listed[name].bytes, listed[name].sha256):
            raise DataError(f"{path} says of {name} what the manifest does not; do not use this bundle")
    return {name: listed[name] for name in rows if not (folder / name).is_file()}


def first_flaw(folder: Path, *, progress: Progress | None = None, absent: Collection[str] = ()) -> str:
    """What is wrong with the first file that is not as the manifest says, or an empty string.

    Files of `absent` may be missing. Raises DataError for a manifest that cannot be used, and for links, which a bundle
    never holds.
    """
    listed = {entry.path: entry for entry in read_manifest(folder)}
    present = set(_walk(folder))
    for name in sorted(listed.keys() | present):
        if name not in present and name in absent:
            continue
        if name not in present:
            return f"{name} is missing"
        if name not in listed:
            return f"{name} is not in the manifest"
        if (folder / name).stat().st_size != listed[name].bytes or hash_file(folder / name) != listed[name].sha256:
            return f"{name} is not what the manifest says"
        if progress:
            progress.advance()
    return ""


def _entry(folder: Path, name: str, describe: Describe) -> Entry:
    role, license_ = describe(name)
    path = folder / name
    return Entry(path=name, bytes=path.stat().st_size, sha256=hash_file(path), role=role, license=license_)


def _walk(folder: Path) -> Iterator[str]:
    """Every file below a folder, but not its manifest and what lies outside the root. Raises DataError at anything
    that is neither file nor folder."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode) or name in (NAME, MIRRORS, THIN) or name.startswith(OUTSIDE):
            continue
        if not stat.S_ISREG(mode):
            raise DataError(f"{path} is a link or no plain file, which a bundle never holds; do not use this bundle")
        yield name


def is_inside(name: str) -> bool:
    """Whether a path stays in its folder, and is written in the one way that is allowed."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and PurePosixPath(name).as_posix() == name
