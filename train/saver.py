"""Checkpoints beside the training: every rank writes what it owns while the next steps are taken.

    snapshot    all ranks together send each other what is cut (pieces.py): all that training waits for
    writing     in a thread, each rank hashes its chunks and writes them to their places in the same two files; what it
                has not come to when the next update is due is copied before that
    committing  in a thread, the first rank hashes the files and commits the folder (store.py)

After every step all ranks ask each other, in the order of the steps, how far they are: the threads themselves never
talk to another rank. At most one checkpoint is under way; a failure of any rank is an error on all of them at the next
step, or at the end. What is written does not depend on how many steps were taken meanwhile.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from core.errors import ProjectError, RetryError
from core.suffer import touch
from train.checkpoint import write_headers, write_stretches
from train.pieces import Leaves, Snapshots, Stretch, chunk_hashes, root_of
from train.placed import Placed, kept_names
from train.runtime import World
from train.store import layouts_of
from train.tensorfile import Layout

Hashes = dict[str, list[bytes]]
# While they wait, ranks meet this often: far below train.timeout_s, after which a silent peer counts as lost.
MEETING_S = 1.0


class Committer(Protocol):
    """What the first rank does about a checkpoint; records.py."""

    def open_aside(self, step: int) -> Path:
        """The folder to write in, with its files allocated."""

    def commit(self, aside: Path, root: str, hashes: Hashes) -> Callable[[], None]:
        """Write down the state root; returns what is left to do, in a thread."""

    def note_committed(self) -> None:
        """Called when that is done, no longer in the thread."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a rank says of its part: nothing yet, done, or why it failed."""

    is_done: bool
    failure: str = ""


class Saver:
    """Saves the state of a placed model. Every rank calls every method, in the same order."""

    def __init__(self, placed: Placed, world: World, *, committer: Committer | None) -> None:
        self._world, self._committer = world, committer
        self._snapshots = Snapshots(placed, world)
        self._layouts = kept_layouts(placed)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saver")
        self._aside = Path()
        self._writing: Future[Leaves] | None = None
        self._committing: Future[None] | None = None
        self._is_committing = False

    def root(self) -> str:
        """The state root as the state is now; nothing is written."""
        return root_of(self.hashes())

    def hashes(self) -> Hashes:
        """The hash of every chunk of every weight and moment as the state is now."""
        leaves: Leaves = {}
        for stretch in self._snapshots.take():
            leaves |= stretch.leaves()
        return self._joined(leaves)

    def begin(self, step: int) -> None:
        """Let the state be written, as it is until `let_go`; waits first for the checkpoint that is under way."""
        self.finish()
        self._aside = self._world.share(self._committer.open_aside(step) if self._committer else None)
        self._writing = self._pool.submit(self._write, self._snapshots.take(), step)

    def let_go(self) -> None:
        """To be called before weights or moments change."""
        self._snapshots.let_go()

    def advance(self, *, is_waiting: bool = False) -> None:
        """Go on with the checkpoint under way if the ranks have come that far, or wait until they have.

        Raises RetryError on every rank if one of them has failed.
        """
        if self._writing and self._is_over(self._writing, is_waiting=is_waiting):
            hashes = self._joined(self._writing.result())
            self._writing, self._is_committing = None, True
            if self._committer:
                left = self._committer.commit(self._aside, root_of(hashes), hashes)
                self._committing = self._pool.submit(left)
        if self._is_committing and self._is_over(self._committing, is_waiting=is_waiting):
            self._committing, self._is_committing = None, False
            if self._committer:
                self._committer.note_committed()

    def finish(self) -> None:
        """Return when nothing is under way any more. Raises RetryError on every rank if one of them has failed."""
        self.advance(is_waiting=True)

    def _write(self, stretches: list[Stretch], step: int) -> Leaves:
        touch("commit.write", step)
        if self._committer:
            write_headers(self._aside, self._layouts)
        return write_stretches(self._aside, stretches, self._layouts)

    def _is_over(self, part: Future[Any] | None, *, is_waiting: bool) -> bool:
        """Whether all ranks are done with their part; if asked to wait, they meet now and then until they are."""
        said = self._world.collect(_say(part, is_waiting=is_waiting))
        while is_waiting and not all(one.is_done for one in said):
            said = self._world.collect(_say(part, is_waiting=True))
        failed = [f"rank {rank}: {one.failure}" for rank, one in enumerate(said) if one.failure]
        if failed:
            raise RetryError(f"checkpoint {self._aside.name} could not be written ({failed[0]}); start the run again")
        return all(one.is_done for one in said)

    def _joined(self, leaves: Leaves) -> Hashes:
        every: Leaves = {}
        for part in self._world.collect(leaves):
            every |= part
        return chunk_hashes(every)


def kept_layouts(placed: Placed) -> dict[str, Layout]:
    """The files of a checkpoint of this model."""
    return layouts_of(
        {kept: shape for name, shape in placed.shapes.items() for kept in kept_names(name, placed.groups)}
    )


def _say(part: Future[Any] | None, *, is_waiting: bool) -> Said:
    """How far a rank's part is. A rank without one is done. What is no fault of disk or run is raised as it is."""
    if part is None:
        return Said(is_done=True)
    if not wait([part], timeout=MEETING_S if is_waiting else 0).done:
        return Said(is_done=False)
    try:
        part.result()
    except (OSError, ProjectError) as error:
        return Said(is_done=True, failure=str(error))
    return Said(is_done=True)
