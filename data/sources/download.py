"""What every download has in common: patience, a name aside until it is whole, a check of the hash, a durable end.

What a run that was killed or lost the network has received stays aside, and the next one may go on from there. It may
be of another file by then: only the hash at the end decides, and if it is wrong the file is received once more anew.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from core.durable import sync_file, sync_folder
from core.errors import DataError
from core.hashing import hash_file

Receive = Callable[[Path], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How often a failing network is tried, and how long to wait after the first failure; each wait doubles."""

    count: int
    wait_s: float

    def pause_s(self, number: int) -> float:
        """How long to wait after the given attempt, counted from 1."""
        return self.wait_s * (1 << (number - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How patient and how polite to be: the pause between requests to a host, and the longest Retry-After to heed."""

    attempts: Attempts
    request_wait_s: float
    retry_after_max_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file that a source is made of.

    name     its name here
    sha256   what it must hash to; empty while that is being learned
    pin      where in the source its hash stands in the recipe, as in `urls.0.sha256`
    what     what it is, for messages
    receive  writes it to a path; a file that is there already is what an earlier run received of it
    noted    what else `sources.json` says of it
    """

    name: str
    sha256: str
    pin: str
    what: str
    receive: Receive
    is_evidence: bool = False
    noted: Mapping[str, str] = field(default_factory=dict)


def is_kept(path: Path, sha256: str) -> bool:
    """Whether a file of the cache is there and is what its hash says."""
    return path.exists() and hash_file(path) == sha256


def keep(target: Path, sha256: str, *, what: str, receive: Receive) -> None:
    """Have `receive` write a file under another name; give it its own once its hash is right.

    Raises DataError if the hash is wrong, and what `receive` raises. What was received stays aside for the next run
    unless it was found to be bad.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.part")
    with _claimed(aside):
        if is_kept(target, sha256):
            return
        try:
            _receive(aside, sha256, what=what, receive=receive)
        except DataError:
            aside.unlink(missing_ok=True)
            raise
        _finish(aside, target)


def learn(cache: Path, name: str, *, receive: Receive) -> str:
    """Have `receive` write a file of unknown hash; keep it in the cache under its SHA-256, and return that."""
    cache.mkdir(parents=True, exist_ok=True)
    aside = cache / f".{name}.pin.part"
    with _claimed(aside):
        # What another run left here may be of any file: nothing could tell.
        aside.write_bytes(b"")
        try:
            receive(aside)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sha256 = hash_file(aside)
        _finish(aside, cache / f"{sha256}-{name}")
    return sha256


def _receive(aside: Path, sha256: str, *, what: str, receive: Receive) -> None:
    is_resumed = aside.stat().st_size > 0
    receive(aside)
    actual = hash_file(aside)
    if actual != sha256 and is_resumed:
        aside.write_bytes(b"")
        receive(aside)
        actual = hash_file(aside)
    if actual != sha256:
        raise DataError(
            f"{what} has SHA-256 {actual}, the recipe wants {sha256}; "
            "do not use it: correct the recipe, or find out who changed the file"
        )


def _finish(aside: Path, target: Path) -> None:
    sync_file(aside)
    aside.replace(target)
    sync_folder(target.parent)


@contextmanager
def _claimed(aside: Path) -> Iterator[None]:
    """Hold a file aside alone; another process that receives the same one is waited for."""
    while True:
        with aside.open("ab") as handle:
            fcntl.flock(handle.fileno(), fcntl.LOCK_EX)
            if not _is_named(handle.fileno(), aside):
                continue
            try:
                yield
            finally:
                if aside.exists() and not aside.stat().st_size:
                    aside.unlink()
            return


def _is_named(handle: int, path: Path) -> bool:
    """Whether an open file still has this name: whoever held it before may have finished and renamed it."""
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
