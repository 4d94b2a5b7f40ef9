"""What other people's folders say of their files: lists of checksums, and the traces of a Hugging Face download.

Read are SHA256SUMS and its kin as coreutils writes them; `.cache/huggingface/download/*.metadata` and links into
`blobs/`, where the hub's client keeps each file's hash; the index of sharded weights; Git LFS pointers.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from core.errors import DataError
from release.publish.parts import UNKNOWN, Part, check_paths
from release.weights import read_tensors

LISTS = {"SHA256SUMS": "sha256", "SHA512SUMS": "sha512", "SHA1SUMS": "sha1", "MD5SUMS": "md5"}
ROW = re.compile(r"([0-9a-fA-F]{32,128}) [ *](?:\./)?(.+)")
INDEX = "*.index.json"
METADATA = Path(".cache/huggingface/download")
POINTER = b"version https://git-lfs.github.com/spec/"
POINTER_BYTES = 1024
# By length in hex digits: what the hub's client calls a file's etag.
ETAGS = {40: "git", 64: "sha256"}


def parse_sums(content: bytes, *, name: str, where: str) -> list[Part]:
    """The files of a list of checksums. Raises DataError if a line is none of coreutils'."""
    parts = []
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        row = ROW.fullmatch(line)
        if line and not row:
            raise DataError(f"{where}, line {number}, is no line of checksum and name; correct the list")
        if row:
            parts.append(Part(path=row[2], bytes=UNKNOWN, digest=row[1].lower(), algorithm=LISTS[name]))
    check_paths([part.path for part in parts], where=where)
    return parts


def hub_parts(folder: Path) -> list[Part]:
    """The files of a Hugging Face folder whose hash its client left there."""
    told = {part.path: part for part in (*_linked(folder), *_downloaded(folder))}
    return [told[path] for path in sorted(told)]


def strange_files(folder: Path) -> Iterator[tuple[str, str, str]]:
    """What is wrong in a folder of weights by its own look: a word, a path, a reason."""
    for index in sorted(folder.glob(INDEX)):
        try:
            named = sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield "differs", index.name, f"is no index of weights: {type(error).__name__} {error}"
            continue
        yield from (("gone", name, f"named by {index.name}") for name in named if not (folder / name).is_file())
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() and not path.exists():
            yield "gone", name, "a link that leads nowhere"
        elif path.is_file() and _is_pointer(path):
            yield "gone", name, "a Git LFS pointer: the content was not downloaded"
        elif path.is_file() and path.suffix == ".safetensors" and (reason := _cut(path)):
            yield "differs", name, reason


def _downloaded(folder: Path) -> Iterator[Part]:
    for path in sorted((folder / METADATA).rglob("*.metadata")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        name = path.relative_to(folder / METADATA).as_posix().removesuffix(".metadata")
        if len(lines) > 1:
            yield from _by_etag(folder, name, lines[1].strip())


def _linked(folder: Path) -> Iterator[Part]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and path.readlink().parent.name == "blobs":
            yield from _by_etag(folder, path.relative_to(folder).as_posix(), path.readlink().name)


def _by_etag(folder: Path, name: str, etag: str) -> Iterator[Part]:
    if len(etag) not in ETAGS or not re.fullmatch(r"[0-9a-f]+", etag):
        return
    file, algorithm = folder / name, ETAGS[len(etag)]
    # Git's hash needs the size, of which nobody else tells.
    size = file.stat().st_size if file.is_file() else 0
    yield Part(path=name, bytes=size if algorithm == "git" else UNKNOWN, digest=etag, algorithm=algorithm)


def _is_pointer(path: Path) -> bool:
    if path.stat().st_size > POINTER_BYTES:
        return False
    return path.read_bytes().startswith(POINTER)


def _cut(path: Path) -> str:
    try:
        ends = max((tensor.end for tensor in read_tensors(path).values()), default=0)
    except DataError:
        return "is no safetensors file"
    size = path.stat().st_size
    return f"is cut short: its tensors end at byte {ends}, it has {size}" if ends > size else ""
