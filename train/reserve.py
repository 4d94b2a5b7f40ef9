"""Room on the disk for the next checkpoint, taken before it is needed.

The reserve is a folder with the two files of tensors at their full size. To save is to rename it and to write into it,
so that nobody can take the room in between. It is made anew after every commit, in the background.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from core.durable import NO_SPACE
from core.errors import RetryError
from core.merkle import CHUNK_BYTES
from train.checkpoint import allocate_files
from train.tensorfile import Layout

RESERVE_PREFIX = ".reserve-"
# For state.json, a manifest without its chunks' hashes, and the ledger's lines until the next checkpoint.
SLACK, SLACK_BYTES, HASH_BYTES = "slack", 1 << 16, 80


class Reserve:
    """The room for the next checkpoint of a run; used by the first rank alone."""

    def __init__(self, checkpoints: Path, layouts: Mapping[str, Layout], *, generation: int) -> None:
        self._checkpoints, self._layouts = checkpoints, layouts
        self._folder = checkpoints / f"{RESERVE_PREFIX}{generation}"
        size = sum(layout.size for layout in layouts.values())
        self._slack = Layout(b"", {}, SLACK_BYTES + size // CHUNK_BYTES * HASH_BYTES)

    def hold(self) -> bool:
        """Take the room if it is there; returns whether it is."""
        if self._folder.exists():
            return True
        try:
            allocate_files(self._folder, {**self._layouts, SLACK: self._slack})
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self.release()
            return False
        return True

    def take(self, aside: Path) -> None:
        """Make the reserve the folder that a checkpoint is written in. Raises RetryError if the disk is full."""
        if not self.hold():
            free = shutil.disk_usage(self._checkpoints).free
            size = sum(layout.size for layout in self._layouts.values())
            raise RetryError(
                f"the disk of {self._checkpoints} has {free:,} bytes left, the next checkpoint takes {size:,}; "
                "free some and start the run again: all that was committed is kept"
            )
        self._folder.rename(aside)

    def release(self) -> None:
        """Give the room back."""
        shutil.rmtree(self._folder, ignore_errors=True)


def give_slack(aside: Path) -> None:
    """Free the room for the small files of a checkpoint, and for the ledger, just before they are written."""
    (aside / SLACK).unlink()


def sweep_reserves(checkpoints: Path) -> None:
    """Give back what killed processes held."""
    for path in checkpoints.glob(f"{RESERVE_PREFIX}*"):
        shutil.rmtree(path)
