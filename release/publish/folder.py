"""A release in a folder on disk."""

import os
import shutil
from pathlib import Path

from core.durable import sync_file, sync_folder
from core.errors import ConfigError
from core.hashing import READ_BYTES
from release.publish.parts import Part
from release.publish.place import Blocks, GoneError


class Folder:
    """A folder."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._folder = Path(address)

    def open(self, path: str, *, start: int = 0) -> tuple[int, Blocks]:
        """A file's bytes."""
        file = self._folder / path
        if not file.is_file():
            raise GoneError(f"{file} is not there")
        return start, _read(file, start)

    def prepare(self) -> None:
        """Make the folder."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self._folder} cannot be made: {error.strerror}; name another folder") from error

    def has(self, part: Part) -> bool:
        """Whether a file of the size lies there."""
        file = self._folder / part.path
        return file.is_file() and not file.is_symlink() and file.stat().st_size == part.bytes

    def write(self, part: Part, file: Path) -> None:
        """Copy a file aside, then rename it."""
        target = self._folder / part.path
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.{os.getpid()}.part")
        shutil.copyfile(file, aside)
        sync_file(aside)
        aside.replace(target)
        sync_folder(target.parent)

    def finish(self) -> None:
        """Everything is visible already."""


def _read(file: Path, start: int) -> Blocks:
    with file.open("rb") as stream:
        stream.seek(start)
        while block := stream.read(READ_BYTES):
            yield block
