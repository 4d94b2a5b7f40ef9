"""Copies of committed checkpoints at another place: a folder or a store, whatever address fsspec knows.

    <address>/<run>/step-000240/    the checkpoint's files, and ledger.jsonl, the ledger up to its step

`run` is the hash of the ledger's first line. Stores rename nothing: the manifest is sent last and taken away first, and
a copy without it is none. What is brought back is verified like any checkpoint. s3:// goes through pyarrow, whose
credentials and endpoint stand in the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...). Free of torch.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.fs
from fsspec.implementations.arrow import ArrowFSWrapper

from core.durable import commit_folder, write_durably
from core.errors import DataError, RetryError
from train.needs import without_client
from train.recovery import superfluous
from train.store import ASIDE_PREFIX, MANIFEST, PREFIX, folder_name, list_checkpoints, open_checkpoint

LEDGER_COPY = "ledger.jsonl"


class Destination:
    """The copies of one run. Every method raises RetryError, naming the address, if the store fails."""

    def __init__(self, address: str, *, run: str) -> None:
        """Raises ConfigError if there is no client for the address."""
        self._address = address
        try:
            self._store, path = _open(address)
        except (ImportError, ValueError, TypeError) as error:
            raise without_client(address, error) from error
        self._root = f"{path.rstrip('/')}/{run}"

    def steps(self) -> list[int]:
        """The steps of whole copies."""
        with self._told("list copies"):
            self._store.invalidate_cache()
            if not self._store.exists(self._root):
                return []
            names = [str(name).rstrip("/").rpartition("/")[2] for name in self._store.ls(self._root, detail=False)]
            whole = [name for name in names if name.startswith(PREFIX) and self._store.exists(self._at(name, MANIFEST))]
        return sorted(int(name.removeprefix(PREFIX)) for name in whole)

    def send(
        self,
        checkpoints: Path,
        ledger: Path,
        *,
        is_kept: Callable[[int], bool],
        newest: int,
        claim: Callable[[int], bool] = bool,
    ) -> None:
        """Copy the committed checkpoints that are not there yet; remove copies as the run removes checkpoints.

        `claim` is asked before each copy, and is false if the checkpoint has been removed by now; 0 gives up the last.
        """
        there = set(self.steps())
        for step, folder in sorted(list_checkpoints(checkpoints).items()):
            if step not in there and claim(step):
                with self._told(f"copy {folder.name}"):
                    self._send(folder, _lines(ledger, step))
                there.add(step)
        claim(0)
        for step in superfluous(sorted(there), is_kept=is_kept, newest=newest):
            with self._told(f"remove {folder_name(step)}"):
                self._store.rm_file(self._at(folder_name(step), MANIFEST))
                self._store.rm(f"{self._root}/{folder_name(step)}", recursive=True)

    def bring_ledger(self, path: Path) -> None:
        """Write the ledger of the newest copy, if there is one."""
        steps = self.steps()
        if steps:
            with self._told("read the ledger"):
                content = self._store.cat_file(self._at(folder_name(steps[-1]), LEDGER_COPY))
            write_durably(path, content)

    def bring(self, step: int, checkpoints: Path) -> None:
        """Commit a copy to the folder of checkpoints. Raises DataError if it is damaged."""
        name = folder_name(step)
        aside = checkpoints / f"{ASIDE_PREFIX}brought" / name
        shutil.rmtree(aside.parent, ignore_errors=True)
        aside.mkdir(parents=True)
        with self._told(f"bring back {name}"):
            for found in self._store.ls(f"{self._root}/{name}", detail=False):
                file = str(found).rpartition("/")[2]
                if file != LEDGER_COPY:
                    self._store.get_file(found, str(aside / file))
        try:
            open_checkpoint(aside)
        except DataError as error:
            shutil.rmtree(aside.parent)
            raise DataError(f"the copy of {name} at {self._address} is damaged: {error}") from error
        commit_folder(aside, checkpoints / name)
        aside.parent.rmdir()

    def _send(self, folder: Path, ledger: bytes) -> None:
        self._store.makedirs(f"{self._root}/{folder.name}", exist_ok=True)
        self._store.pipe_file(self._at(folder.name, LEDGER_COPY), ledger)
        files = sorted(path.name for path in folder.iterdir() if path.name != MANIFEST)
        for name in (*files, MANIFEST):
            self._store.put_file(str(folder / name), self._at(folder.name, name))

    def _at(self, folder: str, file: str) -> str:
        return f"{self._root}/{folder}/{file}"

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        # Clients raise what their libraries have: errors of gcsfs, adlfs and aiohttp are no OSError.
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0] or type(error).__name__
            raise RetryError(
                f"train.checkpoints: could not {what} at {self._address} ({reason}); "
                "the checkpoints on this disk are kept: start the run again when it answers"
            ) from error


def _open(address: str) -> tuple[Any, str]:
    if address.startswith("s3://"):
        # pyarrow takes the credentials from the environment itself, the endpoint it does not.
        store = pyarrow.fs.S3FileSystem(endpoint_override=os.environ.get("AWS_ENDPOINT_URL"))
        return ArrowFSWrapper(store), address.removeprefix("s3://")
    store, path = fsspec.core.url_to_fs(address)
    return store, str(path)


def _lines(ledger: Path, step: int) -> bytes:
    """The first line of a ledger and those of the steps up to one."""
    return b"".join(ledger.read_bytes().splitlines(keepends=True)[: step + 1])
