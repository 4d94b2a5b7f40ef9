"""Processes on this machine: started as one generation, watched, and ended without leaving one behind (Linux).

Three things keep a process from outliving its job, because torchrun gives every rank a session of its own, where no
signal to a process group reaches it, and a SIGKILL to torchrun leaves its ranks running:
    the mark    the notes folder's name in the environment: whoever carries it belongs to the generation
    the kernel  every first-party process asks to be killed when its parent ends (core.notes.die_with_parent)
    the sweep   the next launch ends whoever still carries a mark of this run
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from core.errors import RetryError
from core.notes import DIE_WITH_PARENT, FOLDER, die_with_parent, read_notes
from launch.decide import End, Word
from launch.tee import Tee

POLL_S = 0.02
# Where children write what they mean as results: standard output is kept for the closing table.
STDERR = 2
KILL_DEADLINE_S = 30.0
NOTES_PREFIX = ".notes-"


class Generation:
    """One incarnation of a stage's processes: `command`, and below it, if it is an agent, `ranks` ranks."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", notes: Path, *, ranks: int, is_elsewhere: bool = False
    ) -> None:
        self.process = process
        self.notes = notes
        self.is_elsewhere = is_elsewhere
        self._ranks = ranks
        self._pids = {} if ranks else {0: process.pid}
        self._moved = time.monotonic()
        self._beats: dict[int, dict[str, Any]] = {}

    def pids(self) -> dict[int, int]:
        """Process id by rank, as far as they have been started; without an agent the process itself is rank 0."""
        if len(self._pids) < self._ranks and not self.is_elsewhere:
            self._pids |= ranks_below(self.process.pid, self.notes)
        return self._pids

    def beats(self) -> dict[int, dict[str, Any]]:
        """The last beat of every rank."""
        beats = self._read("beat")
        if beats != self._beats:
            self._beats, self._moved = beats, time.monotonic()
        return beats

    def work(self) -> Path | None:
        """The folder in which an artifact is being made, or None as long as nothing is made."""
        folders = [Path(note["folder"]) for _, note in sorted(self._read("work").items())]
        return folders[0] if folders else None

    def end(self, *, start_s: float, stall_s: float) -> End | None:
        """How the generation ended, or None while all is well.

        Ranks may take `start_s` seconds to their first step and `stall_s` from one to the next.
        """
        exit_code = self.process.poll()
        if not self._ranks:
            return None if exit_code is None else self._end_of_one(exit_code)
        limit_s = stall_s if self.beats() else start_s
        is_stalled = time.monotonic() - self._moved > limit_s
        # The order matters: who is dead is asked before what was said, so that no last word is missed.
        dead = [rank for rank, pid in self.pids().items() if not is_marked(pid, self.notes)]
        if self.is_elsewhere and exit_code is not None:
            dead = list(range(self._ranks))
        words = self._words()
        silent = tuple(sorted(set(dead) - set(words))) if exit_code != 0 else ()
        # Elsewhere it is the agent that ends the peers of a dead rank, and only then is it known who said nothing.
        has_failed = any(word.exit_code for word in words.values()) and not self.is_elsewhere
        if exit_code is None and not silent and not has_failed and not is_stalled:
            return None
        return End(exit_code=exit_code, words=words, silent=silent, is_stalled=is_stalled)

    def _end_of_one(self, exit_code: int) -> End:
        words = self._words()
        if not words and exit_code > 0:
            words = {0: Word(exit_code, f"it ended with exit code {exit_code}, its words are above")}
        return End(exit_code=exit_code, words=words, silent=() if words else (0,))

    def _words(self) -> dict[int, Word]:
        return {rank: Word(note["exit_code"], note["message"]) for rank, note in self._read("exit").items()}

    def _read(self, kind: str) -> dict[int, dict[str, Any]]:
        # A process that a rank has started carries the mark too, and its notes must not be taken for the rank's.
        notes = read_notes(self.notes, kind)
        pids = self.pids()
        return {rank: note for rank, note in notes.items() if note["pid"] == pids.get(rank, note["pid"])}


@contextmanager
def started(
    command: Sequence[str],
    *,
    stage: str,
    environment: Mapping[str, str],
    root: Path,
    out: Path,
    ranks: int,
    grace_s: float,
    is_elsewhere: bool = False,
) -> Iterator[Generation]:
    """Start `command` in `root` as a generation whose notes lie in `out`; when the block is left, no process is.

    What the processes of `stage` write is kept (tee.py). `ranks` is the number of ranks that the command starts as an
    agent, or 0 if it works itself. What still runs when the block is left is asked to stop if an exception leaves it
    (an interrupt), and killed at once otherwise; ranks elsewhere are always asked, by the agent, which is given time to
    pass it on.
    """
    notes = Path(tempfile.mkdtemp(prefix=NOTES_PREFIX, dir=out))
    tee = Tee(out, stage, target=STDERR)
    try:
        process = subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, **environment, FOLDER: str(notes), DIE_WITH_PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=tee.handle,
            stderr=tee.handle,
            # A group of its own: an interrupt from the keyboard reaches the launcher alone, which passes it on.
            process_group=0,
            preexec_fn=die_with_parent,
        )
        tee.begin()
        generation = Generation(process, notes, ranks=ranks, is_elsewhere=is_elsewhere)
        try:
            yield generation
        except BaseException:
            ask_to_stop(generation, grace_s=grace_s)
            raise
        finally:
            if is_elsewhere:
                ask_agent_to_stop(process, grace_s=grace_s)
            kill_marked(notes)
            process.wait()
            tee.end(is_made=lambda: generation.work() is not None)
    finally:
        kill_marked(notes)
        shutil.rmtree(notes, ignore_errors=True)


def ask_to_stop(generation: Generation, *, grace_s: float) -> None:
    """Send SIGTERM to the ranks and wait until they have ended, at most `grace_s` seconds."""
    if generation.is_elsewhere:
        ask_agent_to_stop(generation.process, grace_s=grace_s)
        return
    pids = generation.pids().values()
    is_agent = generation.process.pid not in pids
    if is_agent:
        # Held still, the agent does not fill the screen with a report about ranks that were meant to end.
        generation.process.send_signal(signal.SIGSTOP)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while any(is_marked(pid, generation.notes) for pid in pids) and time.monotonic() < deadline:
        time.sleep(POLL_S)
        generation.process.poll()


def ask_agent_to_stop(process: "subprocess.Popen[bytes]", *, grace_s: float) -> None:
    """Send SIGTERM to the process that was started, if it still runs, and wait until it has ended."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)


def sweep(out: Path) -> list[int]:
    """End whoever still carries a mark of an earlier launch into `out`; returns their process ids."""
    left = []
    for notes in sorted(out.glob(f"{NOTES_PREFIX}*")):
        left += kill_marked(notes)
        shutil.rmtree(notes, ignore_errors=True)
    return left


def kill_marked(notes: Path) -> list[int]:
    """Kill every process that carries a mark and wait until none is left; returns their process ids.

    Raises RetryError if one does not die, which a process waiting for a broken disk or device may not.
    """
    deadline = time.monotonic() + KILL_DEADLINE_S
    killed: set[int] = set()
    while pids := marked(notes):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        killed |= set(pids)
        if time.monotonic() > deadline:
            raise RetryError(f"process {pids[0]} does not die of SIGKILL; look at what device it waits for")
        time.sleep(POLL_S)
    return sorted(killed)


def marked(notes: Path) -> list[int]:
    """The processes that carry a mark, sorted. One that has ended but is not yet reaped carries none."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return sorted(pid for pid in pids if is_marked(pid, notes))


def is_marked(pid: int, notes: Path) -> bool:
    """Whether a process is alive and carries the mark."""
    return f"{FOLDER}={notes}".encode() in _environment(pid)


def ranks_below(agent: int, notes: Path) -> dict[int, int]:
    """Process id by rank of an agent's children that carry the mark."""
    found = {}
    for pid in marked(notes):
        rank = next((entry[5:] for entry in _environment(pid) if entry.startswith(b"RANK=")), None)
        if rank is not None and pid != agent and _parent(pid) == agent:
            found[int(rank)] = pid
    return found


def _environment(pid: int) -> list[bytes]:
    # Another user's process, and one that is gone, have none for us.
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _parent(pid: int) -> int:
    # After the command in brackets, which may hold anything, come the state and the parent (proc_pid_stat(5)).
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except FileNotFoundError:
        return 0
