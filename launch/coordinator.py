"""The coordinator of a run under keepers: which nodes train as which ranks, and what is done when one fails.

It holds nothing but its journal (history.py): a coordinator that is lost is started again, reads it, waits for the
keepers to say what they have, and goes on; the ranks did not stop meanwhile. Every start of the ranks is a new
generation, told to all keepers at once. What to do is decided by pure functions (decide.py); this file listens, and
does it. Verb `coordinate`, started by `launch supervise` (launch/nodes.py).
"""

import json
import signal
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from core.durable import told_full_disks, write_durably
from core.errors import Preempted
from core.wire import Message
from launch import evidence, sensors
from launch.audits import Audits
from launch.decide import (
    DONE_CODE,
    RETRY_CODE,
    STOP_CODE,
    Action,
    Failure,
    Kind,
    Verdict,
    cause,
    error_of,
    is_lemon,
    judge,
    kind_of,
    seat,
)
from launch.history import History, written_generation
from launch.keeperconfig import Place
from launch.members import Members, Node, State
from launch.orders import orders
from launch.quarantine import Quarantine
from launch.search import saved_until

# What fails together is judged together: a peer that has lost a rank may be heard before the rank's own keeper.
# Keepers ask their ranks for stacks before they say that one stands still.
SETTLE_S, SETTLE_HANG_S = 0.03, 0.3
STATUS_S = 0.2
STATUS = "status.json"


class Coordinator:
    """The state of a run, as far as it is not in its journal."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.history = History(place.folder)
        self.quarantine = Quarantine(place.folder)
        self.members = Members(place, greet=self._greet, hear=self._hear, lose=self._lose)
        self.audits = Audits(self)
        self._failures: list[Failure] = []
        self._stacks: dict[int, str] = {}
        self._failed_at = self._status_at = 0.0
        self._began = self._waits_since = time.monotonic()
        self._not_before = 0.0
        self._is_moved = False
        self._stop_at, self._told_to_stop = 0.0, 0
        self._ended: tuple[int, str] | None = None
        signal.signal(signal.SIGTERM, self._ask_to_stop)

    def work(self) -> None:
        """Coordinate until the run is done. Raises the ProjectError that it ends with otherwise."""
        while self._ended is None:
            self.members.listen()
            if self._failures and time.monotonic() - self._failed_at > self._settle_s():
                self._judge()
            elif self.is_running:
                self._look_at_ranks()
            elif self._ended is None and not self.audits.is_busy:
                self._begin_if_possible()
            self.audits.go_on()
            self._stop()
            self._show()
        code, message = self._ended
        end = {"do": "end", "code": code, "message": message}
        # For keepers that do not hear it now.
        write_durably(self.place.coordinator_file, json.dumps(end).encode())
        self.members.tell(end)
        self.history.record("ended", code=code, message=message)
        self._show(is_now=True)
        if code != DONE_CODE:
            raise error_of(code, message)

    @property
    def ready(self) -> list[str]:
        """The nodes that could train, by name."""
        return sorted(name for name, node in self.members.nodes.items() if node.state is State.READY)

    @property
    def idle(self) -> list[str]:
        """Those of them that do not."""
        return [name for name in self.ready if not self.is_running or name not in self.history.seated]

    def set_aside(self, node: str, *, reason: str, evidence: str) -> None:
        """Leave a node alone for a while."""
        self.quarantine.put(node, reason=reason, evidence=evidence, seconds=self.place.quarantine_s)
        self.history.record("quarantined", node=node, reason=reason)
        if node in self.members.nodes:
            self.members.nodes[node].state = State.REFUSED

    @property
    def is_running(self) -> bool:
        """Whether ranks are at work."""
        return self.history.is_running

    def halt(self, why: str) -> None:
        """End all ranks now."""
        self.history.record("halted", why=why)
        self._waits_since = time.monotonic()
        for node in self.members.nodes.values():
            node.tell({"do": "kill", "generation": self.history.generation})
            node.statuses = {}

    def end(self, code: int, message: str) -> None:
        """The run is over."""
        self._ended = (code, message)

    def step(self) -> int:
        """The furthest step that a rank is in or has done."""
        beats = [beat for node in self.members.nodes.values() for beat in node.beats.values()]
        return max((step for step, _, _ in beats), default=0)

    def is_at_end(self) -> bool:
        """Whether all ranks wait for leave to publish."""
        return set(self.members.phases(self.history.seated)) == {"wait"}

    def release(self) -> None:
        """Let the ranks publish."""
        self.history.record("released", generation=self.history.generation)
        self.members.tell({"do": "release", "generation": self.history.generation})

    def _greet(self, node: Node) -> None:
        is_seated = self.is_running and node.name in self.history.seated
        has_ranks = is_seated and node.generation == self.history.generation and bool(node.statuses)
        if is_seated and not has_ranks:
            # It came back before anybody had noticed that it was gone, and its ranks are gone.
            self._lose(node, "its keeper was started anew")
        self.audits.pin(node)
        reason = self.quarantine.reason(node.name)
        if reason:
            node.state = State.REFUSED
            self.history.record("refused", node=node.name, reason=reason)
        elif has_ranks:
            node.state = State.READY
            for rank, status in node.statuses.items():
                # It was not told while there was no coordinator.
                kind = kind_of(status, word="", is_oom=False) if status is not None else None
                if kind:
                    self._note(Failure(kind=kind, node=node.name, rank=rank, step=self.step(), code=status or 0))
        else:
            if node.statuses:
                node.tell({"do": "kill", "generation": self.history.generation})
                node.statuses = {}
            if node.port and node.state is State.STARTING:
                self._admit(node)

    def _admit(self, node: Node) -> None:
        # While it is not known who lied, a passport might be held against a lie.
        if node.state is not State.STARTING or self.audits.is_busy:
            return
        if self.history.generation and self.place.base_every_steps:
            node.state = State.ASKED
            self.audits.ask_for_passport(node)
        else:
            self.admit(node, "nothing has been computed yet")

    def admit(self, node: Node, why: str) -> None:
        """Let a node in."""
        node.state = State.READY
        self.history.record("admitted", node=node.name, why=why)

    def _hear(self, node: Node, message: Message) -> None:
        say = message["say"]
        if say == "ready":
            node.port = message["port"]
            self._admit(node)
        elif say == "unready":
            node.port, node.state = 0, State.STARTING
        elif say == "broken":
            self.end(message["exit_code"], f"the ranks of node {node.name} cannot be started, its words are above")
        elif say == "task":
            self.audits.take(node, message)
        elif say == "sensor":
            sensors.heed(self, node, message)
        elif message.get("generation") == self.history.generation and self.is_running:
            self._hear_of_ranks(node, message)

    def _hear_of_ranks(self, node: Node, message: Message) -> None:
        say = message["say"]
        if say == "beat":
            node.beats = {int(rank): tuple(beat) for rank, beat in message["beats"].items()}
            # The furthest: a rank without work stays where it began.
            done = max((beat[0] for beat in node.beats.values()), default=0) - 1
            self.history.progress(done)
            if 0 <= self.history.void_after < done:
                self.history.record("void.gone")
        elif say == "ended":
            node.statuses[message["rank"]] = message["status"]
            kind = kind_of(message["status"], word=message["word"], is_oom=message["is_oom"])
            if kind:
                self._fail(kind, node, message, code=message["status"], word=message["word"])
        elif say == "hung":
            self._stacks |= {int(rank): text for rank, text in message["stacks"].items()}
            stack = message["stacks"].get(str(message["rank"]), "")
            word = f"{message['seconds']:.1f} s in {message['phase']}"
            self._fail(Kind.HANG, node, message, word=word, seconds=message["seconds"], has_stack=bool(stack))

    def _fail(self, kind: Kind, node: Node, message: Message, **facts: Any) -> None:
        self._note(Failure(kind=kind, node=node.name, rank=message["rank"], step=message["step"], **facts))

    def _note(self, failure: Failure) -> None:
        if not self._failures:
            self._failed_at = time.monotonic()
        self._failures.append(failure)

    def _settle_s(self) -> float:
        is_hang = all(one.kind is Kind.HANG for one in self._failures)
        return SETTLE_HANG_S if is_hang else SETTLE_S

    def _lose(self, node: Node, why: str) -> None:
        self.audits.lose(node.name)
        if not self.note_node(node, Kind.LOST, why) and self._ended is None:
            self.history.record("spare.lost", node=node.name, why=why)

    def note_node(self, node: Node, kind: Kind, why: str) -> bool:
        """A node as a whole has failed; returns whether it was at work."""
        is_at_work = self.is_running and node.name in self.history.seated
        if is_at_work:
            step = max((beat[0] for beat in node.beats.values()), default=self.step())
            self._note(Failure(kind=kind, node=node.name, rank=-1, step=step, word=why))
        return is_at_work

    def _judge(self) -> None:
        """Decide about what has failed, and do it."""
        failures, self._failures = self._failures, []
        found = cause(failures)
        self.history.progress(found.step - 1)
        verdict = judge(
            found,
            history=self.history.causes,
            nodes_left=len(self.ready),
            idle_restarts=self.history.idle_restarts,
            max_idle_restarts=self.place.max_restarts_without_progress,
            backoff_s=self.place.backoff_s,
        )
        before = list(self.history.causes)
        self.history.fail(found, action=verdict.action.value, reason=verdict.reason)
        self.halt(verdict.reason)
        if verdict.action is not Action.RESTART or found.kind is Kind.HANG:
            self._keep_evidence(verdict, failures, before)
        if verdict.action is not Action.RESTART:
            self.end(verdict.exit_code, f"{verdict.reason}; evidence in {self.place.folder / evidence.NAME}")
            return
        times = self.history.failed_at.get(found.node, [])
        limit = self.place.lemon_failures
        if is_lemon(times, now=time.time(), limit=limit) and len(self.ready) > 1 and not verdict.is_moved:
            self.set_aside(found.node, reason=f"it failed {len(times)} times", evidence=str(self.history.path))
        self._is_moved, self._not_before = verdict.is_moved, time.monotonic() + verdict.wait_s

    def _keep_evidence(self, verdict: Verdict, failures: list[Failure], before: list[Failure]) -> None:
        evidence.keep(
            self.place.folder,
            f"{self.history.generation:04d}",
            out=self.place.out,
            decided={"action": verdict.action.value, "exit_code": verdict.exit_code, "reason": verdict.reason},
            failures=failures,
            before=before,
            stacks=self._stacks,
        )
        self._stacks = {}

    def _look_at_ranks(self) -> None:
        """See whether all ranks have ended, a node of the table has not come back, or one more could train."""
        nodes = self.members.nodes
        missing = [name for name in self.history.seated if name not in nodes]
        if missing:
            if time.monotonic() - self._began > self.place.node_timeout_s:
                if len(missing) == len(self.history.seated):
                    # Nobody has outlived the coordinator before, such as when a job was queued again.
                    self.history.record("started")
                    return
                self._note(
                    Failure(kind=Kind.LOST, node=missing[0], rank=-1, step=self.step(), word="it has not come back")
                )
            return
        statuses = [status for name in self.history.seated for status in nodes[name].statuses.values()]
        if statuses and all(status in (DONE_CODE, STOP_CODE) for status in statuses):
            if STOP_CODE in statuses:
                self.end(STOP_CODE, "stopped as asked, after a step that is committed; run the same command again")
            else:
                self.end(DONE_CODE, "done")
        elif len(self.history.seated) < self.place.nodes and self.idle and not self._stop_at:
            self.halt(f"node {self.idle[0]} has come back")

    def _begin_if_possible(self) -> None:
        ready, waited = self.ready, time.monotonic() - self._waits_since
        is_late = waited > self.place.join_s
        is_first = not self.history.seated
        if time.monotonic() < self._not_before:
            return
        if len(ready) < self.place.min_nodes:
            if is_late:
                found = f"{len(ready)} nodes are ready after {self.place.join_s:g} s (launch.join_s)"
                self.end(RETRY_CODE, f"{found}, launch.min_nodes is {self.place.min_nodes}; run the same command again")
            return
        if len(ready) >= self.place.nodes or is_late or not is_first:
            seated = seat(ready, before=self.history.seated, wanted=self.place.nodes, is_moved=self._is_moved)
            if self.members.nodes[seated[0]].port:
                self._begin(seated)

    def _begin(self, seated: list[str]) -> None:
        """Start a generation on these nodes."""
        history, place, nodes = self.history, self.place, self.members.nodes
        generation = max(history.generation, written_generation(place.out)) + 1
        void_after = history.void_after
        facts = {"void_after": void_after, "saved": saved_until(place.out, void_after=void_after)}
        history.record("generation.began", generation=generation, seated=seated, **facts)
        self._is_moved = False
        spares = [name for name in self.ready if name not in seated]
        # A keeper holds what it is given long before its node can train.
        coming = [name for name, node in nodes.items() if node.state in (State.STARTING, State.ASKED)]
        told = orders(
            seated,
            nodes=nodes,
            spares=[*spares, *coming],
            generation=generation,
            void_after=void_after,
            voids=history.voids,
            place=place,
        )
        for name, order in told.items():
            node = nodes[name]
            node.generation, node.beats = generation, {}
            node.statuses = {rank["rank"]: None for rank in order["ranks"]}
            node.tell(order)
        # The next one meets elsewhere; where, that node will say.
        nodes[seated[0]].port = 0
        for name in spares:
            nodes[name].tell({"do": "kill", "generation": generation})

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_at = self._stop_at or time.monotonic() + self.place.stop_grace_s

    def _stop(self) -> None:
        """If asked to, have the ranks commit a step; also those of a new generation, for what keepers hold."""
        history = self.history
        if not self._stop_at or self._ended is not None:
            return
        if time.monotonic() > self._stop_at or not history.seated:
            self.halt("it was asked to stop and has not")
            self.end(STOP_CODE, "stopped as asked, in the middle of a step; what was committed before is kept")
        elif self.is_running and self._told_to_stop != history.generation:
            phases = self.members.phases(history.seated)
            if len(phases) == len(history.seated) * self.place.ranks_per_node and "start" not in phases:
                self._told_to_stop = history.generation
                history.record("stop.told")
                self.members.tell({"do": "stop"})

    def _let_in_again(self) -> None:
        """A node whose quarantine has expired, or that had to wait, may show its passport."""
        for node in self.members.nodes.values():
            if node.state is State.REFUSED and not self.quarantine.reason(node.name):
                node.state = State.STARTING
            if node.port and node.state is State.STARTING:
                self._admit(node)

    def _show(self, *, is_now: bool = False) -> None:
        """Write down who is where, for people, drills and tests."""
        if time.monotonic() - self._status_at < STATUS_S and not is_now:
            return
        self._status_at = time.monotonic()
        self._let_in_again()
        seated = self.history.seated if self.is_running else []
        nodes = {name: node.told(is_training=name in seated) for name, node in self.members.nodes.items()}
        told = {"generation": self.history.generation, "step": self.step(), "nodes": nodes}
        # On a full disk people read an older one.
        with suppress(OSError):
            write_durably(self.place.folder / STATUS, json.dumps(told).encode())


def main(arguments: list[str]) -> None:
    """Verb `coordinate`: `PLACE.json`, as `launch supervise` starts it."""
    place = Place.read(Path(arguments[0]))
    try:
        evidence.prepare()
        with told_full_disks(place.folder):
            Coordinator(place).work()
    except Preempted:
        write_durably(place.out / "PREEMPTED", b"")
        raise
