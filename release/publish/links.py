"""Verb check-links: walks a published release, reads every file, and says what is gone or differs.

usage: python -m release check-links ADDRESS|FOLDER

Takes a release of ours, at any address or on disk: then also every copy that its mirrors.json tells of. Takes others'
too: a folder or address with SHA256SUMS or its kin, a repository of a Hugging Face hub, a folder that was downloaded
from one. Where only presence and form can be judged, it says so. Writes a line for every file that is not as it was.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.arguments import Parser
from core.errors import ConfigError, DataError, RetryError
from core.progress import Progress
from release.manifest import MIRRORS, NAME
from release.publish.foreign import LISTS, hub_parts, parse_sums, strange_files
from release.publish.hub import Hub
from release.publish.parts import MAX_LIST_BYTES, Part, manifest_parts, parse_mirrors, part_of_bytes
from release.publish.place import GoneError, Source, flaw_at, open_source, read_all, scheme_of

ATTEMPTS = 3
PAUSE_S = 0.5
WHOLE = "whole"


@dataclass(slots=True)
class Walk:
    """What a release says that it has, and what was found: how many files in which state, and a line for each fault."""

    address: str
    parts: list[Part] = field(default_factory=list)
    mirrors: tuple[str, ...] = ()
    root: str = ""
    lines: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, state: str, path: str, why: str = "") -> None:
        """Note a file's state."""
        self.counts[state] += 1
        if state != WHOLE:
            self.lines.append(f"{state:<11} {path}: {why}\n")

    def say(self) -> str:
        """All that was found."""
        found = ", ".join(f"{self.counts[state]} {state}" for state in (WHOLE, "gone", "differs", "unreachable"))
        told = f", root {self.root}" if self.root else ""
        return "".join(self.lines) + f"{self.address}: {found}{told}\n"


def main(arguments: list[str]) -> None:
    """Run the verb. Raises DataError if something is gone or differs, RetryError if something cannot be reached."""
    parser = Parser("python -m release check-links ADDRESS|FOLDER")
    parser.add_argument("release")
    walks = []
    for walk in walk_all(parser.parse_args(arguments).release):
        sys.stdout.write(walk.say())
        sys.stdout.flush()
        walks.append(walk)
    rotten = [walk.address for walk in walks if walk.counts["gone"] or walk.counts["differs"]]
    if rotten:
        raise DataError(f"{', '.join(rotten)}: not as it was published; publish again, or take the copy off the list")
    silent = [walk.address for walk in walks if walk.counts["unreachable"]]
    if silent:
        raise RetryError(f"{', '.join(silent)}: cannot be reached now; try again later")


def walk_all(address: str) -> Iterator[Walk]:
    """Walk a release, then every other copy that it tells of."""
    if not scheme_of(address) and not Path(address).is_dir():
        raise ConfigError(f"{address} is neither an address nor a folder; correct it")
    first = walk(address)
    yield first
    for mirror in first.mirrors:
        if mirror != address and scheme_of(mirror):
            yield walk(mirror, root=first.root)


def walk(address: str, *, root: str = "") -> Walk:
    """Read every file of a release. With `root`, it has to be that release. Raises ConfigError if it is no release."""
    found = Walk(address)
    source = open_source(address)
    try:
        _list(source, found)
    except RetryError as error:
        found.add("unreachable", NAME, str(error))
        return found
    except DataError as error:
        if not root:
            raise
        found.add("gone" if isinstance(error, GoneError) else "differs", NAME, str(error))
        return found
    if root and found.root != root:
        found.add("differs", NAME, f"is that of another release: root {found.root}, not {root}")
        return found
    progress = Progress(f"check {address}", total=max(1, len(found.parts)), unit="files")
    for part in found.parts:
        found.add(*_look(source, part))
        progress.advance(note=part.path)
    return found


def _look(source: Source, part: Part) -> tuple[str, str, str]:
    for number in range(1, ATTEMPTS + 1):
        try:
            flaw = flaw_at(source, part)
            return ("differs" if flaw else WHOLE), part.path, flaw
        except GoneError as error:
            return "gone", part.path, str(error)
        except DataError as error:
            return "differs", part.path, str(error)
        except RetryError as error:
            if number == ATTEMPTS:
                return "unreachable", part.path, str(error)
            time.sleep(PAUSE_S * number)
    raise AssertionError("unreachable")


def _list(source: Source, found: Walk) -> None:
    """Find out what the release says that it has."""
    content = _try(source, NAME)
    if content is not None:
        found.root = part_of_bytes(NAME, content).digest
        found.parts = manifest_parts(content, where=f"{NAME} at {source.address}")
        told = _try(source, MIRRORS)
        if told is not None:
            _add_mirrors(found, told, where=f"{MIRRORS} at {source.address}")
        return
    for name in LISTS:
        content = _try(source, name)
        if content is not None:
            found.parts = parse_sums(content, name=name, where=f"{name} at {source.address}")
            return
    if isinstance(source, Hub):
        found.parts = list(source.listing().values())
    elif not scheme_of(source.address):
        _list_folder(Path(source.address), found)
    else:
        raise GoneError(f"{source.address} has neither {NAME} nor {', '.join(LISTS)}; give the address of a release")


def _add_mirrors(found: Walk, content: bytes, *, where: str) -> None:
    try:
        mirrors = parse_mirrors(content, where=where)
    except DataError as error:
        found.add("differs", MIRRORS, str(error))
        return
    if mirrors.root != found.root:
        found.add("differs", MIRRORS, f"is that of another release: root {mirrors.root}")
        return
    found.mirrors = tuple(address for address in mirrors.mirrors if scheme_of(address))
    found.parts += mirrors.outside


def _list_folder(folder: Path, found: Walk) -> None:
    """A folder without a list: what a hub's client left there, and what can be seen of weights."""
    found.parts = hub_parts(folder)
    for state, path, why in strange_files(folder):
        found.add(state, path, why)
    strange = {line.split()[1].rstrip(":") for line in found.lines}
    found.parts = [part for part in found.parts if part.path not in strange]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    weights = [name for name in files if name.endswith(".safetensors")]
    if not found.parts and not found.lines and not weights:
        raise ConfigError(f"{folder} has neither {NAME}, {', '.join(LISTS)}, weights nor traces of a hub's client")
    unhashed = [name for name in weights if name not in {part.path for part in found.parts} | strange]
    if unhashed:
        found.lines.append(f"no hash is known of {len(unhashed)} files with weights: only their form was looked at\n")
        found.counts[WHOLE] += len(unhashed)


def _try(source: Source, path: str) -> bytes | None:
    try:
        return read_all(source, path, limit=MAX_LIST_BYTES)
    except GoneError:
        return None
