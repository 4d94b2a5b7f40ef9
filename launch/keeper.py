"""The keeper of a node: starts its ranks, watches their hearts, holds what they hand over, and kills at once.

One a node. It starts the process that ranks are forked from (`python -m train serve-ranks`), which has imported torch
before it is needed, and does what the coordinator says. All below it dies with it, by the kernel's hand, so a keeper
that is killed leaves nobody behind: for the others that is the loss of a node. A keeper that loses the coordinator
lets its ranks go on and looks for the next one, which says where in the run's folder it can be reached.
"""

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core import faultbox
from core.codetree import ROOT
from core.errors import RetryError
from core.heart import Pulse, limit_s
from core.kept import VARIABLE
from core.notes import DIE_WITH_PARENT, FOLDER, die_with_parent, read_notes, release
from core.wire import TOKEN, Line, Message, encode
from launch.address import address_towards, interface_of
from launch.keeperconfig import PLACE, Place
from launch.local import STDERR
from launch.oomkills import oom_kills
from launch.sensors import Sensors
from launch.shelf import Shelf, ShelfServer

WATCH_S = 0.02
TELL_S = 0.2
RECONNECT_S = 0.05
READ_BYTES = 1 << 16
STACK_WAIT_S = 0.1
CONNECT_S = 1.0
# What gloo talks on; by itself it takes what the host's name stands for, often an address that others do not reach.
GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"
KEEPER_PID = "WHOLEGRAIN_KEEPER"
DONE = 0


@dataclass(slots=True)
class Rank:
    """A rank of this node in the generation that is under way; `status` is None while it lives."""

    rank: int
    heart: Path
    pid: int = 0
    pulse: Pulse | None = None
    status: int | None = None
    word: str = ""
    is_hung: bool = False
    late_at: int = -1


@dataclass(slots=True)
class Brood:
    """The ranks of a generation on this node, and the folder of their hearts and notes."""

    generation: int = 0
    folder: Path = field(default_factory=Path)
    ranks: dict[int, Rank] = field(default_factory=dict)


class Keeper:
    """What one node does; `name` is the node's."""

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self._folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=place.room))
        self._shelf = Shelf()
        self._server = ShelfServer(self._shelf, host=place.host, token=place.token)
        self._selector = selectors.DefaultSelector()
        self._coordinator: socket.socket | None = None
        self._lines, self._zygote_lines = Line(), Line()
        self._brood, self._port = Brood(), 0
        self._told, self._refusal, self._has_heard = 0.0, "", False
        self._connected = self._heard = time.monotonic()
        self._end_word: tuple[int, str] | None = None
        self._oom_kills = oom_kills()
        self._sensors = Sensors(Path(place.sensor_log.format(node=name)) if place.sensor_log else None)
        self._zygote = self._start_zygote()

    def work(self) -> tuple[int, str]:
        """Keep until the coordinator says that it is over; returns the run's exit code, and why.

        Raises RetryError if no coordinator can be found.
        """
        try:
            while self._end_word is None:
                if self._coordinator is None:
                    self._find_coordinator()
                for key, _ in self._selector.select(WATCH_S):
                    self._hear(key.data)
                self._watch()
                self._doubt()
            return self._end_word
        finally:
            self._zygote.kill()
            self._zygote.wait()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start_zygote(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "train", "serve-ranks", self._place.recipe, *self._place.overrides]
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        zygote = subprocess.Popen(
            command,
            cwd=ROOT,
            env={GLOO_INTERFACE: interface_of(self._place.host), **environment, DIE_WITH_PARENT: str(os.getpid())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        assert zygote.stdout
        self._zygote_lines = Line()
        self._selector.register(zygote.stdout, selectors.EVENT_READ, "zygote")
        return zygote

    def _find_coordinator(self) -> None:
        """Try to reach it; the caller tries again."""
        self._despair()
        try:
            where = json.loads(self._place.coordinator_file.read_text())
            if "do" in where and self._has_heard:
                self._end_word = where["code"], where["message"]
                return
            found = socket.create_connection((where["host"], where["port"]), timeout=CONNECT_S)
        except (OSError, ValueError, KeyError):
            time.sleep(RECONNECT_S)
            return
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._coordinator, self._lines, self._connected = found, Line(), time.monotonic()
        self._selector.register(found, selectors.EVENT_READ, "coordinator")
        brood = self._brood
        for one in brood.ranks.values():
            one.is_hung = False
        self._tell(
            {
                TOKEN: self._place.token,
                "say": "hello",
                "node": self._name,
                "host": self._place.host,
                "pid": os.getpid(),
                "shelf": self._server.address,
                "port": self._port,
                "generation": brood.generation,
                "ranks": {rank: one.status for rank, one in brood.ranks.items()},
            }
        )

    def _despair(self) -> None:
        """Without a coordinator ranks go on for a while; then they are ended, and it is looked for a while longer."""
        place, silent_s = self._place, time.monotonic() - self._heard
        if silent_s > place.coordinator_timeout_s and self._brood.ranks:
            self._forget()
            self._ask_zygote({"do": "kill"})
        if silent_s > place.coordinator_timeout_s + place.join_s:
            why = self._refusal or f"no coordinator has answered for {silent_s:.0f} s"
            raise RetryError(f"node {self._name}: {why}; run the same command again")
        if self._has_heard and Place.read(place.folder / PLACE).token != place.token:
            raise RetryError(f"node {self._name}: the run was started anew with another recipe; join it again")

    def _doubt(self) -> None:
        """A coordinator that says nothing may be behind a cut cable: it is looked for anew."""
        since = max(self._heard, self._connected)
        if self._coordinator and time.monotonic() - since > self._place.node_timeout_s:
            self._lose_coordinator()

    def _hear(self, who: str) -> None:
        if who == "coordinator":
            if self._coordinator is None:
                return
            content = b""
            with contextlib.suppress(OSError):
                content = self._coordinator.recv(READ_BYTES)
            if not content:
                self._lose_coordinator()
            for message in self._lines.feed(content):
                self._obey(message)
            return
        assert self._zygote.stdout
        content = os.read(self._zygote.stdout.fileno(), READ_BYTES)
        if not content:
            self._lose_zygote()
        for message in self._zygote_lines.feed(content):
            self._heed(message)

    def _obey(self, message: Message) -> None:
        """Do what the coordinator says."""
        if message["do"] == "wait":
            self._refusal = message["why"]
            time.sleep(RECONNECT_S)
            return
        self._heard, self._has_heard, self._refusal = time.monotonic(), True, ""
        if message["do"] == "start":
            self._start(message)
        elif message["do"] == "kill":
            self._shelf.begin(message["generation"], void_after=-1)
            self._forget()
            self._ask_zygote({"do": "kill"})
        elif message["do"] == "pin":
            self._shelf.is_pinned = message["is_pinned"]
        elif message["do"] == "stop":
            for one in self._living():
                os.kill(one.pid, signal.SIGTERM)
        elif message["do"] == "release" and message["generation"] == self._brood.generation:
            release(self._brood.folder)
        elif message["do"] == "task":
            out = self._folder / f"task{message['id']}.json"
            values = {**message["values"], "out": str(out)}
            self._ask_zygote({**message, "values": values})
        elif message["do"] == "end":
            self._end_word = message["code"], message["message"]

    def _start(self, message: Message) -> None:
        self._forget()
        generation = message["generation"]
        self._shelf.begin(generation, void_after=message["void_after"])
        self._brood = Brood(generation, Path(tempfile.mkdtemp(prefix=f"gen{generation}-", dir=self._folder)))
        ranks = []
        for one in message["ranks"]:
            rank = Rank(one["rank"], self._brood.folder / f"rank{one['rank']}.heart")
            self._brood.ranks[rank.rank] = rank
            own = {FOLDER: str(self._brood.folder), KEEPER_PID: str(os.getpid())}
            ranks.append({**one, "environment": {**one["environment"], **own}, "heart": str(rank.heart)})
        self._oom_kills = oom_kills()
        if 0 in self._brood.ranks:
            # Its first rank takes the port; another one is told of by the zygote.
            self._port = 0
        self._ask_zygote({"do": "start", "generation": generation, "ranks": ranks})

    def _forget(self) -> None:
        if self._brood.ranks:
            shutil.rmtree(self._brood.folder, ignore_errors=True)
        self._brood = Brood(self._brood.generation)

    def _heed(self, message: Message) -> None:
        """Take note of what the zygote says."""
        if "ready" in message:
            self._port = message["ready"]
            self._tell({"say": "ready", "port": self._port})
        elif "started" in message and self._is_mine(message, message["started"]):
            for rank, pid in message["started"].items():
                self._brood.ranks[int(rank)].pid = pid
            self._tell({"say": "started", "generation": message["generation"], "pids": message["started"]})
        elif "ended" in message and self._is_mine(message, [message["ended"]]):
            self._end(self._brood.ranks[message["ended"]], message["status"])
        elif "task" in message:
            out = self._folder / f"task{message['task']}.json"
            result = out.read_text() if message["status"] == DONE and out.exists() else ""
            out.unlink(missing_ok=True)
            self._tell({"say": "task", "id": message["task"], "status": message["status"], "result": result})

    def _is_mine(self, message: Message, ranks: Iterable[Any]) -> bool:
        """Whether it is about ranks that are still wanted: the zygote may have spoken before it heard of their end."""
        brood = self._brood
        return message["generation"] == brood.generation and all(int(rank) in brood.ranks for rank in ranks)

    def _end(self, rank: Rank, status: int) -> None:
        note = read_notes(self._brood.folder, "exit").get(rank.rank)
        rank.status = status
        rank.word = note["message"] if note and note["pid"] == rank.pid else ""
        is_oom = status == -signal.SIGKILL and oom_kills() > self._oom_kills
        self._tell_failure("ended", rank, {"status": status, "word": rank.word, "is_oom": is_oom})

    def _lose_zygote(self) -> None:
        """All ranks have gone with it; another one takes its place."""
        assert self._zygote.stdout
        self._selector.unregister(self._zygote.stdout)
        self._zygote.wait()
        self._port = 0
        for one in self._living():
            self._end(one, -signal.SIGKILL)
        self._tell({"say": "unready", "exit_code": self._zygote.returncode})
        if self._zygote.returncode and self._zygote.returncode > 0:
            # It has said why; another one would say the same.
            self._tell({"say": "broken", "exit_code": self._zygote.returncode})
            return
        self._zygote = self._start_zygote()

    def _lose_coordinator(self) -> None:
        assert self._coordinator
        self._selector.unregister(self._coordinator)
        self._coordinator.close()
        self._coordinator = None

    def _watch(self) -> None:
        now = time.monotonic()
        for one in self._living():
            if one.pulse is None and one.pid and one.heart.exists() and one.heart.stat().st_size:
                one.pulse = Pulse(one.heart)
        late = [one for one in self._living() if one.pulse and not one.is_hung and self._is_over(one, now)]
        if late:
            self._tell_of_hang(late, now)
        if now - self._told > TELL_S:
            self._told = now
            beats = {one.rank: self._beat(one) for one in self._brood.ranks.values()}
            self._tell({"say": "beat", "generation": self._brood.generation, "beats": beats})
            for said in self._sensors.read():
                facts = {"code": said.code, "gpu": said.gpu, "line": said.line, "fatal": said.fatal}
                self._tell({"say": "sensor", **facts})
            self._suffer()

    def _tell_of_hang(self, late: list[Rank], now: float) -> None:
        """Say who stands still; who does not answer is among them, even if others were late first."""
        stacks = self._stacks()
        late += [one for one in self._living() if one.pulse and not stacks[one.rank] and one not in late]
        for one in late:
            assert one.pulse
            one.is_hung = True
            beat = one.pulse.beat()
            facts = {"phase": beat.phase, "seconds": now - beat.since_s, "stacks": stacks}
            self._tell_failure("hung", one, facts)

    def _is_over(self, one: Rank, now: float) -> bool:
        assert one.pulse
        """Whether a rank stands still; believed when it is seen twice, since a heart may be read half written."""
        beat, place = one.pulse.beat(), self._place
        limit = limit_s(
            one.pulse.durations_s(beat.phase),
            floor_s=place.watchdog_floor_s,
            factor=place.watchdog_factor,
            first_s=place.start_s,
        )
        was_late = one.late_at == beat.beats
        one.late_at = beat.beats if now - beat.since_s > limit else -1
        return was_late and one.late_at >= 0

    def _stacks(self) -> dict[int, str]:
        """What every rank of this node is doing; a frozen one says nothing, and that is telling too."""
        for one in self._living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGUSR2)
        time.sleep(STACK_WAIT_S)
        paths = {one.rank: self._brood.folder / f"rank{one.rank}.stack" for one in self._living()}
        return {rank: path.read_text() if path.exists() else "" for rank, path in paths.items()}

    def _suffer(self) -> None:
        """What a drill does to a keeper itself."""
        if self._place.fault_box and self._shelf.headers():
            box = Path(self._place.fault_box)
            for number, fault in faultbox.armed(box):
                is_mine = fault.kind == "rot" and fault.node == self._name
                if is_mine and faultbox.take(box, number, fault, node=self._name, generation=self._brood.generation):
                    self._shelf.spoil()

    def _beat(self, one: Rank) -> list[Any]:
        if one.pulse is None:
            return [0, "start", one.pid]
        beat = one.pulse.beat()
        return [beat.step, beat.phase, one.pid]

    def _living(self) -> list[Rank]:
        return [one for one in self._brood.ranks.values() if one.status is None]

    def _tell_failure(self, say: str, rank: Rank, facts: Message) -> None:
        step, phase, _ = self._beat(rank)
        about = {"generation": self._brood.generation, "rank": rank.rank, "step": step, "phase": phase}
        self._tell({"say": say, **about, **facts})

    def _tell(self, message: Message) -> None:
        if self._coordinator:
            try:
                self._coordinator.sendall(encode(message))
            except OSError:
                self._lose_coordinator()

    def _ask_zygote(self, message: Message) -> None:
        assert self._zygote.stdin
        with contextlib.suppress(BrokenPipeError):
            self._zygote.stdin.write(encode(message))
            self._zygote.stdin.flush()


def main(arguments: list[str]) -> None:
    """Verb `keep`: `PLACE.json NODE`, as `launch supervise` starts it on this machine."""
    place = Place.read(Path(arguments[0]))
    sys.stdout = os.fdopen(os.dup(STDERR), "w")
    Keeper(replace(place, host=address_towards(place.host)), arguments[1]).work()
