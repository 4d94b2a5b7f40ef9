"""A .torrent file and a magnet link for a bundle: hybrid of BitTorrent v1 (BEP 3, 47) and v2 (BEP 52).

Made from the bundle's files alone, so that it has the same bytes each time: no date, no maker, no random piece size.
Transfer is a client's work; web seeds (BEP 19) let clients, and our own fetch, read from a web server.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from core.durable import write_durably
from core.errors import ConfigError, DataError
from core.progress import Progress
from release.publish.bencode import decode, encode
from release.publish.parts import MAX_LIST_BYTES, Part

BLOCK_BYTES = 1 << 14
MIN_PIECE_BYTES = 1 << 16
MAX_PIECE_BYTES = 1 << 24
# About so many pieces at most, until pieces are as large as clients take them.
PIECES = 2000
ZERO = bytes(32)


def write_torrent(
    path: Path, folder: Path, parts: Sequence[Part], *, name: str, seeds: Sequence[str], trackers: Sequence[str]
) -> str:
    """Write a .torrent over the parts in a folder, read it back, and return its magnet link."""
    info, layers = make_info(folder, parts, name=name)
    record: dict[str, Any] = {"info": info, "piece layers": layers}
    seeds = [seed for address in seeds if (seed := web_seed(address, name))]
    if seeds:
        record["url-list"] = seeds
    if trackers:
        record |= {"announce": trackers[0], "announce-list": [[tracker] for tracker in trackers]}
    content = encode(record)
    if not (path.is_file() and path.read_bytes() == content):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, content)
    if path.read_bytes() != content or encode(decode(content, where=str(path))) != content:
        raise DataError(f"{path} reads back otherwise than it was written; mend the disk")
    return magnet(info, name=name, trackers=trackers, seeds=seeds)


def make_info(folder: Path, parts: Sequence[Part], *, name: str) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    """The info dictionary, whose hashes name the torrent, and the piece layers. Raises DataError if a file changed."""
    ordered = sorted(parts, key=lambda part: [level.encode() for level in part.path.split("/")])
    total = sum(part.bytes for part in ordered)
    piece_bytes = piece_size(total)
    progress = Progress(f"hash {name}", total=total, unit="bytes")
    tree: dict[str, Any] = {}
    files: list[dict[str, Any]] = []
    pieces, layers = [], {}
    for part in ordered:
        is_last = part is ordered[-1]
        levels = part.path.split("/")
        leaf: dict[str, Any] = {"length": part.bytes}
        files.append({"length": part.bytes, "path": levels})
        digests, hashes = _hash_pieces(folder / part.path, part, piece_bytes, is_last=is_last, progress=progress)
        pieces += digests
        if hashes:
            leaf["pieces root"] = root = merkle_root(hashes, filler=_filler(piece_bytes if len(hashes) > 1 else 0))
            if len(hashes) > 1:
                layers[root] = b"".join(hashes)
        if (left := -part.bytes % piece_bytes) and not is_last:
            files.append({"attr": "p", "length": left, "path": [".pad", str(left)]})
        branch = tree
        for level in levels:
            branch = branch.setdefault(level, {})
        branch[""] = leaf
    info = {
        "file tree": tree,
        "files": files,
        "meta version": 2,
        "name": name,
        "piece length": piece_bytes,
        "pieces": b"".join(pieces),
    }
    return info, layers


def piece_size(total: int) -> int:
    """The size of pieces for so many bytes: a power of two."""
    size = MIN_PIECE_BYTES
    while size < MAX_PIECE_BYTES and total > size * PIECES:
        size *= 2
    return size


def merkle_root(hashes: Sequence[bytes], *, filler: bytes = ZERO) -> bytes:
    """The root over hashes, filled up to a power of two."""
    layer = list(hashes)
    while len(layer) > 1:
        if len(layer) % 2:
            layer.append(filler)
        layer = [_sha256(layer[at] + layer[at + 1]) for at in range(0, len(layer), 2)]
        filler = _sha256(filler + filler)
    return layer[0]


def magnet(info: dict[str, Any], *, name: str, trackers: Sequence[str], seeds: Sequence[str]) -> str:
    """The link under which clients find the torrent."""
    content = encode(info)
    sha1, sha256 = hashlib.sha1(content, usedforsecurity=False).hexdigest(), hashlib.sha256(content).hexdigest()
    link = f"magnet:?xt=urn:btih:{sha1}&xt=urn:btmh:1220{sha256}&dn={quote(name, safe='')}"
    rest = [*(("tr", tracker) for tracker in trackers), *(("ws", seed) for seed in seeds)]
    return link + "".join(f"&{key}={quote(value, safe='')}" for key, value in rest)


def web_seed(address: str, name: str) -> str:
    """The web seed that a published release is: the folder that holds it. Empty if its own folder has another name."""
    parts = urlsplit(address)
    base, _, last = address.rstrip("/").rpartition("/")
    return f"{base}/" if parts.scheme in ("http", "https") and last == quote(name) else ""


def seeded_addresses(path: Path) -> list[str]:
    """Where the web seeds of a .torrent show the release. Raises ConfigError if it has none."""
    if not path.is_file() or path.stat().st_size > MAX_LIST_BYTES:
        raise ConfigError(f"{path} is no .torrent file; correct the path")
    record = decode(path.read_bytes(), where=str(path))
    try:
        name = record[b"info"][b"name"].decode()
        seeds = record.get(b"url-list", [])
        found = [seed.decode() for seed in ([seeds] if isinstance(seeds, bytes) else seeds)]
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no torrent of files: {type(error).__name__} {error}; get it again") from error
    if not found:
        raise ConfigError(
            f"{path} names no web server; let a torrent client download it, then `release fetch` its folder"
        )
    return [f"{seed.rstrip('/')}/{quote(name)}" for seed in found]


def _hash_pieces(
    path: Path, part: Part, piece_bytes: int, *, is_last: bool, progress: Progress
) -> tuple[list[bytes], list[bytes]]:
    """Of every piece of a file: SHA-1 (the last piece filled up with zeros), and the root of its blocks."""
    digests, roots, content = [], [], hashlib.sha256()
    for piece in _pieces(path, piece_bytes):
        content.update(piece)
        progress.advance(len(piece))
        blocks = [_sha256(piece[at : at + BLOCK_BYTES]) for at in range(0, len(piece), BLOCK_BYTES)]
        if part.bytes > piece_bytes:
            blocks += [ZERO] * (piece_bytes // BLOCK_BYTES - len(blocks))
        roots.append(merkle_root(blocks))
        filled = piece if is_last else piece.ljust(piece_bytes, b"\0")
        digests.append(hashlib.sha1(filled, usedforsecurity=False).digest())
    if content.hexdigest() != part.digest:
        raise DataError(f"{path} changed while the torrent was made; publish again when it rests")
    return digests, roots


def _pieces(path: Path, piece_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while piece := stream.read(piece_bytes):
            yield piece


def _filler(piece_bytes: int) -> bytes:
    """The root of a piece's worth of blocks that are not there."""
    return merkle_root([ZERO] * (piece_bytes // BLOCK_BYTES)) if piece_bytes else ZERO


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
