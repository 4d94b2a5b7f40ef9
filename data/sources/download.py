"""What every download has in common: patience, a name aside until it is whole, a check of the hash, a durable end."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.durable import sync_file, sync_folder
from core.errors import DataError
from core.hashing import hash_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How often a failing network is tried, and how long to wait after the first failure; each wait doubles."""

    count: int
    wait_s: float

    def pause_s(self, number: int) -> float:
        """How long to wait after the given attempt, counted from 1."""
        return self.wait_s * (1 << (number - 1))


def is_kept(path: Path, sha256: str) -> bool:
    """Whether a file of the cache is there and is what its hash says."""
    return path.exists() and hash_file(path) == sha256


def keep(target: Path, sha256: str, *, what: object, receive: Callable[[Path], None]) -> None:
    """Have `receive` write a file under another name; give it its own once its hash is right.

    Raises DataError if the hash is wrong, and what `receive` raises; nothing is left behind then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        receive(aside)
        actual = hash_file(aside)
        if actual != sha256:
            raise DataError(
                f"{what} has SHA-256 {actual}, the recipe wants {sha256}; "
                "do not use it: correct the recipe, or find out who changed the file"
            )
        sync_file(aside)
        aside.replace(target)
        sync_folder(target.parent)
    finally:
        aside.unlink(missing_ok=True)
