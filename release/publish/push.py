"""Verb publish: brings a bundle to a place, and reads back what lies there.

usage: python -m release publish BUNDLE --to DESTINATION [--mirrors FILE] [--tracker URL]

What the place already has, by hash, is not sent again, so that the same command goes on after an interruption. The
manifest goes last. `--mirrors` names a file that collects the addresses of all copies: each further copy tells them in
its mirrors.json, and a .torrent takes those of the web as seeds.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from core.arguments import Parser
from core.durable import write_durably
from core.errors import ConfigError, DataError
from core.progress import Progress
from release.manifest import MIRRORS, NAME, manifest_root
from release.publish.parts import (
    MAX_LIST_BYTES,
    Mirrors,
    Part,
    add_mirrors,
    bundle_parts,
    parse_mirrors,
    part_of,
    part_of_bytes,
)
from release.publish.place import GoneError, Place, flaw_at, open_place, read_all, scheme_of
from release.publish.torrent import write_torrent

TORRENT = ".torrent"


def main(arguments: list[str]) -> None:
    """Run the verb: write where the release lies, its root, and how much was sent."""
    parser = Parser("python -m release publish BUNDLE --to DESTINATION [--mirrors FILE] [--tracker URL]")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--to", required=True)
    parser.add_argument("--mirrors", type=Path)
    parser.add_argument("--tracker", action="append", default=[])
    given = parser.parse_args(arguments)
    folder = given.bundle.resolve()
    is_torrent = not scheme_of(given.to) and given.to.endswith(TORRENT)
    if given.tracker and not is_torrent:
        raise ConfigError(f"--tracker is for a {TORRENT} file, and --to is {given.to}; leave it out")
    _check_apart(folder, given.to)
    parts = bundle_parts(folder)
    told = read_told(given.mirrors, folder)
    if is_torrent:
        listed = [*parts, part_of(folder, NAME)]
        told.append(write_torrent(Path(given.to), folder, listed, name=folder.name, seeds=told, trackers=given.tracker))
        sys.stdout.write(f"{given.to}\n{told[-1]}\n")
    else:
        # Nobody else has our disk: a path is no address to tell.
        told += [given.to] if scheme_of(given.to) else []
        sent = publish(folder, parts, open_place(given.to), mirrors=add_mirrors(folder, told))
        sys.stdout.write(
            f"{given.to}\nsent {sent} of {len(parts) + 2} files; all were read back and are the bundle's\n"
        )
    sys.stdout.write(f"root {manifest_root(folder)}\n")
    if given.mirrors:
        write_durably(given.mirrors, add_mirrors(folder, told).to_json())


def publish(folder: Path, parts: Sequence[Part], place: Place, *, mirrors: Mirrors) -> int:
    """Bring parts, mirrors.json and the manifest to a place, and read them back. Returns how many were sent.

    Raises ConfigError if another release lies there, DataError naming the first file that reads back otherwise.
    """
    place.prepare()
    with tempfile.TemporaryDirectory(prefix="wholegrain-publish-") as scratch:
        told = Path(scratch) / MIRRORS
        told.write_bytes(mirrors.to_json())
        last = [(part_of_bytes(MIRRORS, mirrors.to_json()), told), (part_of(folder, NAME), folder / NAME)]
        _check_free(place, manifest_root(folder))
        every = [*((part, folder / part.path) for part in parts), *last]
        progress = Progress(f"publish {folder.name}", total=max(1, sum(part.bytes for part, _ in every)), unit="bytes")
        missing = []
        for part, file in every:
            if place.has(part) and not _reads_otherwise(place, part):
                progress.advance(part.bytes, note=f"{part.path} is there")
            else:
                missing.append((part, file))
        for part, file in missing:
            place.write(part, file)
            progress.advance(part.bytes, note=part.path)
        place.finish()
        for part, _ in missing:
            if flaw := _reads_otherwise(place, part):
                raise DataError(
                    f"{part.path} was sent to {place.address}, and what lies there {flaw}; "
                    "do not announce this copy: publish again, or to another place"
                )
    return len(missing)


def read_told(path: Path | None, folder: Path) -> list[str]:
    """The addresses that a file of --mirrors holds. Raises ConfigError if they are those of another release."""
    if path is None or not path.exists():
        return []
    mirrors = parse_mirrors(path.read_bytes(), where=str(path))
    if mirrors.root != manifest_root(folder):
        raise ConfigError(f"{path} tells where the release with root {mirrors.root} lies; name another file")
    return list(mirrors.mirrors)


def _reads_otherwise(place: Place, part: Part) -> str:
    try:
        return flaw_at(place, part)
    except GoneError:
        return "is gone"


def _check_free(place: Place, root: str) -> None:
    try:
        found = part_of_bytes(NAME, read_all(place, NAME, limit=MAX_LIST_BYTES)).digest
    except GoneError:
        return
    if found != root:
        raise ConfigError(
            f"{place.address} holds another release or a damaged one (root {found}, not {root}); "
            "publish to another address, or remove it"
        )


def _check_apart(folder: Path, to: str) -> None:
    target = Path(to).resolve()
    if not scheme_of(to) and (target == folder or folder in target.parents):
        raise ConfigError(f"{to} lies in the bundle itself; publish to a folder elsewhere")
