"""Files and folders that are either there whole or not at all, and still there after a power cut.

The order is: write aside, flush and fsync the content, rename, fsync the folder that holds the name.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import RetryError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

# What a killed `write_durably` leaves beside the file.
HALF_WRITTEN = ".*.part"


def sync_file(path: Path) -> None:
    """Force a file's content to the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Force a folder's names (created, renamed, removed) to the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, content: bytes, *, is_private: bool = False) -> None:
    """Replace a file's content in one step: a reader, or a crash, sees the old content or the new.

    What `is_private` was never to be read by others than the file's owner.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    if is_private:
        aside.unlink(missing_ok=True)
        aside.touch(mode=0o600)
    aside.write_bytes(content)
    sync_file(aside)
    aside.replace(path)
    sync_folder(path.parent)


def commit_folder(aside: Path, final: Path) -> None:
    """Give a finished folder its final name, after all that is in it has reached the disk.

    Raises OSError if the final name is taken by a folder that is not empty.
    """
    for path in sorted(aside.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        elif not path.is_symlink():
            sync_file(path)
    sync_folder(aside)
    aside.rename(final)
    sync_folder(final.parent)


@contextmanager
def told_full_disks(folder: Path) -> Iterator[None]:
    """Turn the failure of any write for lack of room into a RetryError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise RetryError(
            f"no room on the disk of {folder} ({error}); free some and start the run again: all that was committed "
            "is kept"
        ) from error
