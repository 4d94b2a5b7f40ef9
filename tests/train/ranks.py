"""Real ranks for tests: processes forked from one that has imported torch under the tiny recipe's profile.

A rank runs verbs of train/ as `python -m train` would, in an environment as torchrun would set it. It may be told to
kill itself with SIGKILL before the n-th time that it touches a path: that is how the commit protocol is cut in two.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from random import SystemRandom
from typing import Any

from core.errors import ProjectError
from core.notes import FOLDER, leave_exit, read_notes
from tests.cuts import Cut, arm

PROFILE = {
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
PRELOADED = ["train.loop", "train.run", "train.replay", "hydra", "hydra.core.override_parser.overrides_parser", "yaml"]
DEADLINE_S = 300.0


@dataclass(frozen=True)
class Verb:
    """One verb to run, on all ranks, with its arguments; `port` is where the ranks meet."""

    verb: Callable[[Sequence[str]], None]
    arguments: Sequence[str]
    port: int


@dataclass
class Ended:
    """How the ranks ended: exit codes (-9: killed) and what they said in their exit notes."""

    exit_codes: list[int]
    messages: dict[int, str] = field(default_factory=dict)


def run_ranks(
    world_size: int,
    verb: Callable[[Sequence[str]], None],
    runs: Sequence[Sequence[str]],
    *,
    notes: Path,
    kill: tuple[int, int] | None = None,
    cut: Cut | None = None,
    deadline_s: float = DEADLINE_S,
) -> Ended:
    """Run a verb, once for each of `runs`, on `world_size` ranks.

    `kill` (rank, step): a rank sends itself SIGKILL when it has said that it finished the step. After the deadline all
    are killed.
    """
    notes.mkdir(parents=True, exist_ok=True)
    for old in notes.glob("rank*.json"):
        old.unlink()
    verbs = [Verb(verb, [str(argument) for argument in arguments], _free_port()) for arguments in runs]
    context = _context()
    processes = [
        context.Process(
            target=_be_rank,
            args=(
                *(rank, world_size, verbs, notes),
                cut if cut and rank == cut.rank else None,
                kill[1] if kill and rank == kill[0] else 0,
            ),
        )
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + deadline_s
    while any(process.is_alive() for process in processes) and time.monotonic() < deadline:
        multiprocessing.connection.wait([process.sentinel for process in processes if process.is_alive()], 0.005)
    for process in processes:
        process.kill()
        process.join()
    messages = {rank: note["message"] for rank, note in read_notes(notes, "exit").items()}
    return Ended([int(process.exitcode or 0) for process in processes], messages)


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """A function's result in a process of the tiny recipe's profile."""
    context = _context()
    here, there = context.Pipe()
    process = context.Process(target=_be_called, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    kept = dict(os.environ)
    os.environ.update(PROFILE)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return context


def _be_rank(rank: int, world_size: int, verbs: Sequence[Verb], notes: Path, cut: Cut | None, kill_after: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size), MASTER_ADDR="127.0.0.1")
    os.environ[FOLDER] = str(notes)
    with (notes / f"rank{rank}.log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if cut:
        arm(cut)
    if kill_after:
        _die_after(kill_after)
    for verb in verbs:
        os.environ["MASTER_PORT"] = str(verb.port)
        try:
            verb.verb(verb.arguments)
        except ProjectError as error:
            leave_exit(error.exit_code, str(error))
            sys.exit(error.exit_code)


def _die_after(step: int) -> None:
    from train import loop

    leave: Callable[[int], None] = vars(loop)["leave_beat"]

    def leave_and_die(done: int) -> None:
        leave(done)
        if done >= step:
            os.kill(os.getpid(), signal.SIGKILL)

    vars(loop)["leave_beat"] = leave_and_die


def _be_called(answer: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    answer.send(function(*arguments))


def _free_port() -> int:
    """A port below those that the kernel gives out itself, of which one may be taken before a rank comes to it."""
    while True:
        port = SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
