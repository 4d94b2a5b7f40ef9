"""Sends copies of committed checkpoints to another place beside the training, which never waits for a slow store.

One thread takes what is committed and not there yet, oldest first. Where saves come faster than the store takes them,
checkpoints that the run itself has removed meanwhile are passed over: the newest ones and those that the artifact keeps
are always sent. The last save of a run waits until everything is there. Free of torch.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from train.config import TrainConfig
from train.destination import Destination
from train.store import folder_name


class Sender:
    """The sending of one run. `moving` is held by whoever moves or removes checkpoints."""

    def __init__(
        self, destination: Destination, config: TrainConfig, *, checkpoints: Path, ledger: Path, moving: Lock
    ) -> None:
        self._destination, self._config = destination, config
        self._checkpoints, self._ledger, self._moving = checkpoints, ledger, moving
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sender")
        self._parts: list[Future[None]] = []
        # The step whose files are being read, which must not be removed meanwhile; 0 if none.
        self.busy = 0

    def wake(self) -> None:
        """Let what is committed be sent. Raises RetryError if an earlier sending has failed."""
        for part in self._parts:
            if part.done():
                part.result()
        self._parts = [part for part in self._parts if not part.done()]
        # One at work and one behind it; a third would find nothing left.
        if len(self._parts) < 2:
            self._parts.append(self._pool.submit(self._send))

    def finish(self) -> None:
        """Return when everything is sent. Raises RetryError if that failed."""
        for part in self._parts:
            part.result()

    def _send(self) -> None:
        config = self._config
        self._destination.send(
            self._checkpoints, self._ledger, is_kept=config.is_kept, newest=config.keep_newest, claim=self._claim
        )

    def _claim(self, step: int) -> bool:
        """Keep a checkpoint from being removed while it is sent; False if it is gone already. 0 lets go."""
        with self._moving:
            self.busy = step if (self._checkpoints / folder_name(step)).exists() else 0
        return bool(self.busy)
