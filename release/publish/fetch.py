"""Verb fetch: brings a published release here, and believes no byte of it before it is hashed.

usage: python -m release fetch SOURCE --to FOLDER [--root HEX]

SOURCE is an address (place.py), a .torrent with web seeds, or a mirrors.json, whose addresses are tried in turn.
Everything is written aside to `.FOLDER.part`, which survives a kill: the same command goes on where it broke off. The
folder gets its name when every file has the hash that the manifest gives.

The manifest's hash is the root: with --root it has to be that one. Without, whoever runs the mirror decides what comes,
and the root that is printed is to be compared with one from elsewhere (or the signature with a key from elsewhere).
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.arguments import Parser
from core.artifact import WITNESS
from core.durable import commit_folder, write_durably
from core.errors import ConfigError, DataError, RetryError
from core.hashing import sha256_hex
from core.progress import Progress
from release.manifest import MIRRORS, NAME, first_flaw, manifest_root
from release.publish.parts import (
    MAX_LIST_BYTES,
    Mirrors,
    Part,
    add_mirrors,
    flaw_of_file,
    manifest_parts,
    parse_mirrors,
    part_of_bytes,
)
from release.publish.place import GoneError, Source, open_source, read_all, scheme_of
from release.publish.torrent import seeded_addresses

ATTEMPTS = 5
PAUSE_S = 0.5


def main(arguments: list[str]) -> None:
    """Run the verb: write where the release lies and its root."""
    parser = Parser("python -m release fetch SOURCE --to FOLDER [--root HEX]")
    parser.add_argument("source")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--root", default="")
    given = parser.parse_args(arguments)
    sources = [open_source(address) for address in addresses_of(given.source)]
    root = fetch(sources, given.to, root=given.root.lower())
    sys.stdout.write(f"{given.to}\nroot {root}\n")
    if not given.root:
        sys.stdout.write("no --root was given: compare this one with what the maker says elsewhere\n")


def addresses_of(source: str) -> list[str]:
    """The addresses that a source stands for, in the order in which they are tried."""
    if scheme_of(source):
        return [source]
    path = Path(source)
    if path.suffix == ".torrent":
        return seeded_addresses(path)
    if path.suffix == ".json" and path.is_file():
        told = parse_mirrors(path.read_bytes(), where=source).mirrors
        served = [address for address in told if scheme_of(address)]
        if not served:
            raise ConfigError(f"{source} names no place to fetch from; give an address")
        return served
    if not path.is_dir():
        raise ConfigError(f"{source} is neither address, folder, .torrent nor mirrors.json; correct it")
    return [source]


def fetch(sources: Sequence[Source], final: Path, *, root: str = "") -> str:
    """Bring a release from the first source that has it, file by file, and return its root.

    Raises ConfigError if the final name is taken, DataError naming the first file that no source has as it has to be,
    RetryError if the sources keep failing.
    """
    if final.exists():
        return _is_there(final, root)
    aside = final.absolute().with_name(f".{final.name}.part")
    aside.mkdir(parents=True, exist_ok=True)
    content, source = _find_manifest(sources, root)
    found = sha256_hex(content)
    ordered = [source, *(other for other in sources if other is not source)]
    inside = manifest_parts(content, where=f"{NAME} at {source.address}")
    mirrors = _find_mirrors(ordered, found)
    parts = [*inside, *(mirrors.outside if mirrors else ())]
    _remove_strange(aside, {part.path for part in parts})
    coming = aside.with_name(f".{final.name}.coming")
    progress = Progress(f"fetch {final.name}", total=max(1, sum(part.bytes for part in parts)), unit="bytes")
    for part in parts:
        _bring(ordered, part, aside, coming=coming, progress=progress)
    if mirrors and mirrors.name:
        write_durably(aside / MIRRORS, mirrors.to_json())
    write_durably(aside / NAME, content)
    coming.unlink(missing_ok=True)
    if flaw := first_flaw(aside):
        raise DataError(f"{aside}: {flaw}; run the same command again")
    commit_folder(aside, final)
    return found


def _is_there(final: Path, root: str) -> str:
    if not (final / NAME).is_file():
        raise ConfigError(f"{final} is there and is no bundle; name another folder")
    found = manifest_root(final)
    if root and found != root:
        raise ConfigError(f"{final} holds another release (root {found}, not {root}); name another folder")
    if flaw := first_flaw(final):
        raise DataError(f"{final}: {flaw}; remove the folder and fetch again")
    return found


def _find_manifest(sources: Sequence[Source], root: str) -> tuple[bytes, Source]:
    """The manifest with the root, or the first if none is given, and who has it."""
    faults: list[DataError | RetryError] = []
    for source in sources:
        try:
            content = _patiently(source, NAME)
        except (DataError, RetryError) as error:
            faults.append(error)
            continue
        if not root or sha256_hex(content) == root:
            return content, source
        faults.append(
            DataError(
                f"{NAME} at {source.address} has SHA-256 {sha256_hex(content)}, not the root {root}; "
                "that is another release or a damaged one: take another source"
            )
        )
    raise faults[0]


def _find_mirrors(sources: Sequence[Source], root: str) -> Mirrors | None:
    """What lies outside the root, and where else the release is: of the first source that tells it soundly, or None."""
    faults: list[DataError] = []
    for source in sources:
        try:
            mirrors = _mirrors_at(source, root)
        except GoneError:
            continue
        except DataError as error:
            faults.append(error)
            continue
        if mirrors.root == root:
            return mirrors
        faults.append(DataError(f"{MIRRORS} at {source.address} is that of another release; take another source"))
    if faults:
        raise faults[0]
    return None


def _mirrors_at(source: Source, root: str) -> Mirrors:
    """What a source's mirrors.json says; of a bundle that was copied by other means, what follows from its files."""
    try:
        return parse_mirrors(_patiently(source, MIRRORS), where=f"{MIRRORS} at {source.address}")
    except GoneError:
        if not scheme_of(source.address):
            return add_mirrors(Path(source.address), [])
    own = f"{WITNESS}/{NAME}"
    content = _patiently(source, own)
    inside = manifest_parts(content, where=f"{own} at {source.address}")
    outside = [part_of_bytes(own, content), *(replace(part, path=f"{WITNESS}/{part.path}") for part in inside)]
    return Mirrors(name="", root=root, mirrors=(), outside=tuple(outside))


def _patiently(source: Source, path: str) -> bytes:
    for number in range(1, ATTEMPTS + 1):
        try:
            return read_all(source, path, limit=MAX_LIST_BYTES)
        except RetryError:
            if number == ATTEMPTS:
                raise
            time.sleep(PAUSE_S * number)
    raise AssertionError("unreachable")


def _bring(sources: Sequence[Source], part: Part, aside: Path, *, coming: Path, progress: Progress) -> None:
    """Get one file to its place aside, from the first source that has it. What is there already is hashed again."""
    target = aside / part.path
    if target.is_file() and not flaw_of_file(target, part):
        progress.advance(part.bytes, note=f"{part.path} is there")
        return
    coming.touch()
    faults: list[DataError | RetryError] = []
    for source in sources:
        try:
            _receive(source, part, coming, progress)
        except (DataError, RetryError) as error:
            faults.append(error)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        coming.replace(target)
        return
    # A fault that may pass is told first, then what a source has otherwise; that one has not got it says least.
    raise min(faults, key=lambda fault: (not isinstance(fault, RetryError), isinstance(fault, GoneError)))


def _receive(source: Source, part: Part, coming: Path, progress: Progress) -> None:
    """Receive one file, from where `coming` ends; if that makes another file, once more from the start."""
    was_begun = coming.stat().st_size > 0
    flaw = _until_whole(source, part, coming, progress)
    if flaw and was_begun:
        coming.write_bytes(b"")
        flaw = _until_whole(source, part, coming, progress)
    if flaw:
        coming.write_bytes(b"")
        raise DataError(f"{part.path} at {source.address} {flaw}; it is damaged or forged there: take another source")


def _until_whole(source: Source, part: Part, coming: Path, progress: Progress) -> str:
    """Read on until the file is complete; an attempt that brought it further does not count. Returns what is wrong."""
    number = 0
    while True:
        before = coming.stat().st_size
        try:
            _attempt(source, part, coming, progress)
            return flaw_of_file(coming, part)
        except RetryError:
            number = 1 if coming.stat().st_size > before else number + 1
            if number >= ATTEMPTS:
                raise
            time.sleep(PAUSE_S * (number - 1))


def _attempt(source: Source, part: Part, coming: Path, progress: Progress) -> None:
    """Append what comes, up to a little more than there should be. Raises RetryError if it broke off."""
    begun = coming.stat().st_size
    first, blocks = source.open(part.path, start=begun)
    with coming.open("r+b") as stream:
        stream.seek(first)
        stream.truncate()
        for block in blocks:
            stream.write(block)
            progress.advance(len(block), note=part.path)
            if stream.tell() > part.bytes:
                return
        if begun < stream.tell() < part.bytes:
            raise RetryError(f"{part.path} at {source.address} ends after {stream.tell()} of {part.bytes} bytes")


def _remove_strange(aside: Path, wanted: set[str]) -> None:
    """Take away what an earlier attempt at another release left; links are none of ours."""
    for path in sorted(aside.rglob("*"), reverse=True):
        name = path.relative_to(aside).as_posix()
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif name not in wanted or path.is_symlink():
            path.unlink()
