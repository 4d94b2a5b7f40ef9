"""Verb serve-ranks: import torch and read the recipe once, then fork ranks as the node's keeper asks for them.

Lines of JSON on standard input and output:

    in    {"do": "start", "generation": G, "ranks": [{"rank": R, "environment": {...}, "heart": PATH}, ...]}
          {"do": "kill"}
          {"do": "task", "id": I, "verb": "audit" | "replay", "values": {...}, "environment": {...}}
    out   {"ready": PORT}                                     listening there for the first rank of a generation to come
          {"started": {R: PID}, "generation": G}
          {"ended": R, "generation": G, "status": S}          a negative status is a signal
          {"task": I, "status": S}

It forks before it has started any thread, so a rank begins with all that was imported and read. It dies with its
keeper, and its ranks die with it. A rank that is killed is killed at once: nothing that it holds is needed.
"""

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core import heart
from core.codetree import code_hash
from core.errors import ProjectError
from core.kept import VARIABLE
from core.notes import die_with_parent, leave_exit
from core.wire import Line, encode
from train.run import Work, make, read_work

OURS = 1
STDIN, STDOUT, STDERR = 0, 1, 2
READ_BYTES = 1 << 16
# What a rank imports only where it is used: seconds that a new generation would wait for. fully_shard asks for dynamo.
NEEDED = ("train.loop", "train.audit", "train.replay", "train.reserve", "train.vital", "torch.distributed.tensor")

NEEDED_BY_SHARDS = ("torch._dynamo",)


def main(arguments: Sequence[str]) -> None:
    """`RECIPE [key=value ...]`, with the keeper at the other end of standard input and output."""
    replies = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    os.set_inheritable(replies, False)
    work = read_work(arguments, "python -m train serve-ranks")
    _import_all(work)
    Zygote(work, replies).serve()


class Zygote:
    """The process that ranks are forked from."""

    def __init__(self, work: Work, replies: int) -> None:
        self._work, self._replies = work, replies
        self._generation = 0
        self._ranks: dict[int, int] = {}
        self._tasks: dict[int, int] = {}
        self._meeting = _listen()
        self._wake, wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            # Whoever wants the ranks to stop tells the coordinator, which tells the keepers.
            signal.signal(number, signal.SIG_IGN)

    def serve(self) -> None:
        """Do what is asked until the keeper has gone."""
        self._tell_ready()
        lines = Line()
        while True:
            ready, _, _ = select.select([STDIN, self._wake], [], [])
            if self._wake in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, READ_BYTES)
                self._reap()
            if STDIN in ready:
                content = os.read(STDIN, READ_BYTES)
                if not content:
                    self._kill()
                    return
                for message in lines.feed(content):
                    self._obey(message)

    def _obey(self, message: dict[str, Any]) -> None:
        if message["do"] == "task":
            self._start_task(message)
            return
        self._kill()
        if message["do"] == "start":
            self._start(message)

    def _start(self, message: dict[str, Any]) -> None:
        self._generation = message["generation"]
        for one in message["ranks"]:
            pid = self._fork(one["environment"], Path(one["heart"]), lambda: make(self._work))
            self._ranks[pid] = one["rank"]
        pids = {rank: pid for pid, rank in self._ranks.items()}
        self._tell({"started": pids, "generation": self._generation})
        if any(one["rank"] == 0 for one in message["ranks"]):
            # The first rank has it now; whoever comes next meets elsewhere.
            self._meeting.close()
            self._meeting = _listen()
            self._tell_ready()

    def _start_task(self, message: dict[str, Any]) -> None:
        pid = self._fork(message["environment"], None, lambda: do_task(self._work, message["verb"], message["values"]))
        self._tasks[pid] = message["id"]

    def _fork(self, environment: dict[str, str], path: Any, act: Callable[[], None]) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status = OURS
        try:
            self._become(environment, path, parent)
            status = run(act)
        finally:
            os._exit(status)

    def _become(self, environment: dict[str, str], path: Any, parent: int) -> None:
        die_with_parent()
        if os.getppid() != parent:
            os._exit(OURS)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        os.close(self._replies)
        os.dup2(os.open(os.devnull, os.O_RDONLY), STDIN)
        os.environ.update(environment)
        if environment.get("RANK") == "0":
            os.environ[VARIABLE] = json.dumps(json.loads(environment[VARIABLE]) | {"listening": self._meeting.fileno()})
        else:
            self._meeting.close()
        if path:
            # Before there is a heart, since whoever watches it asks by this signal.
            faulthandler.register(signal.SIGUSR2, file=path.with_suffix(".stack").open("w"), all_threads=True)
            heart.begin(path)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._tell_ended(pid, os.waitstatus_to_exitcode(status))

    def _tell_ended(self, pid: int, status: int) -> None:
        if pid in self._tasks:
            self._tell({"task": self._tasks.pop(pid), "status": status})
        elif pid in self._ranks:
            self._tell({"ended": self._ranks.pop(pid), "generation": self._generation, "status": status})

    def _kill(self) -> None:
        """End the ranks; who ends this way is not told of."""
        for pid in self._ranks:
            os.kill(pid, signal.SIGKILL)
        for pid in self._ranks:
            os.waitpid(pid, 0)
        self._ranks.clear()

    def _tell_ready(self) -> None:
        self._tell({"ready": self._meeting.getsockname()[1]})

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self._replies, encode(message))


def do_task(work: Work, verb: str, values: dict[str, Any]) -> None:
    """Audit micro-batches, or replay a window of steps."""
    from train.audit import Request, alone, audit
    from train.replay import Segment, replay

    if verb == "audit":
        audit(work, Request(**values))
        return
    checkpoint = Path(values["checkpoint"]) if values["checkpoint"] else None
    segment = Segment(pack=work.pack, checkpoint=checkpoint, until=values["until"], out=Path(values["out"]))
    replay(alone(work.recipe), segment)


def run(act: Callable[[], None]) -> int:
    """Do something as a process of its own does; returns its exit code, and leaves a note of why."""
    try:
        act()
    except ProjectError as error:
        sys.stderr.write(f"error: {error}\n")
        return _end(error.exit_code, str(error))
    except MemoryError as error:
        return _end(OURS, f"MemoryError: {error}")
    except BaseException as error:  # the process ends here, and its words must not be lost
        traceback.print_exc()
        return _end(OURS, f"{type(error).__name__}: {error}")
    return _end(0, "done")


def _end(status: int, message: str) -> int:
    leave_exit(status, message)
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _listen() -> socket.socket:
    meeting = socket.socket()
    meeting.bind(("", 0))
    meeting.listen(1024)
    return meeting


def _import_all(work: Work) -> None:
    """Import what a rank needs and do what is the same for all of them."""
    placement = work.recipe.train.placement
    for name in (*NEEDED, *(NEEDED_BY_SHARDS if placement.is_grouped else ())):
        importlib.import_module(name)
    from model.numerics import honour

    assert VARIABLE not in os.environ, "a keeper does not tell itself anything"
    code_hash("train")
    honour(work.recipe.profile)
    gc.collect()
    gc.freeze()
