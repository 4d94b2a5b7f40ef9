"""Audits for silent corruption, and passports: what the coordinator asks nodes to compute again, and what follows.

audit      now and then a node, an idle one first, computes micro-batches again that others have committed
vote       where it gets another digest, everything stops, and a third node computes the same one
search     the one that is alone is put into quarantine; the honest ones replay windows between the run's checkpoints,
           side by side, until the first that is not what the ledger says is found by bisection (search.py)
roll back  the next generation begins before that window and forgets all that came after
prove      windows that the search has passed over are replayed beside training; if one is wrong, roll back again
passport   a node that joins computes a committed micro-batch; it is let in if it gets the committed digest
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import DeterministicError, RetryError
from core.kept import Kept, tell
from core.ledger import first_difference
from core.wire import Message
from launch import evidence
from launch.decide import Action, liar
from launch.members import Node, State
from launch.plan import audited_of
from launch.search import Steps, Window, bounds, probes, steps_of, windows_of, without

if TYPE_CHECKING:
    from launch.coordinator import Coordinator

AUDIT, VOTE, PASSPORT, REPLAY = "audit", "vote", "passport", "replay"


@dataclass(slots=True)
class Task:
    """Something that a node was asked to compute."""

    what: str
    node: str
    values: dict[str, Any]


class Audits:
    """What is being audited, and why."""

    def __init__(self, coordinator: "Coordinator") -> None:
        self._run = coordinator
        self._tasks: dict[int, Task] = {}
        self._number = int(time.time() * 1000) % (1 << 40)
        self._audited_step = 0
        self._windows: list[Window] = []
        self._unknown: set[Steps] = set()
        self._is_last = False
        self._released = self._last_done = 0

    @property
    def is_busy(self) -> bool:
        """Whether ranks must not be started: who lied is not yet known, or since when."""
        return self._run.history.suspect is not None or self._run.history.is_searching

    def ask_for_passport(self, node: Node) -> None:
        """Have a node that wants to join compute what others have computed."""
        self._ask(PASSPORT, node.name, "audit", {"seed": self._number, "count": 1})

    def go_on(self) -> None:
        """Ask for the next audit, vote or replay if it is time."""
        if self._run.history.suspect is not None:
            if not self._has(VOTE):
                self._ask_for_vote()
        elif self._run.history.is_searching:
            self._search()
        elif self._run.is_running and self._run.place.audit_rate > 0:
            if self._run.history.unproved:
                self._prove()
            if not self._has(AUDIT):
                self._audit()

    def take(self, node: Node, message: Message) -> None:
        """What a node has computed."""
        task = self._tasks.pop(message["id"], None)
        if task is None:
            return
        if task.what == REPLAY:
            self._take_replay(task, message)
            return
        result = json.loads(message["result"]) if message["result"] else {"audited": []}
        wrong = [one for one in result["audited"] if one["said"] != one["found"]]
        if task.what == PASSPORT:
            self._take_passport(node, message, result["audited"], wrong)
        elif task.what == VOTE:
            self._take_vote(task, message, result["audited"])
        else:
            count = len(result["audited"])
            self._run.history.record("audited", node=task.node, status=message["status"], count=count, wrong=len(wrong))
            if self._is_last and message["status"] != RetryError.exit_code:
                self._last_done = self._run.history.generation
            if wrong and self._run.is_running:
                self._run.history.record("audit.differs", **wrong[0], auditor=task.node)
                self._run.halt("an audit differs")
        self.pin()

    def pin(self, node: Node | None = None) -> None:
        """Have keepers, or one, hold what is being audited, and only as long as it is."""
        is_pinned = self._run.history.suspect is not None or any(task.what != REPLAY for task in self._tasks.values())
        for one in [node] if node else self._run.members.nodes.values():
            one.tell({"do": "pin", "is_pinned": is_pinned})

    def lose(self, node: str) -> None:
        """A node is gone, and what it was to compute with it."""
        for number, task in list(self._tasks.items()):
            if task.node == node:
                del self._tasks[number]
                self.pin()

    def _audit(self) -> None:
        run, place = self._run, self._run.place
        is_last = run.is_at_end()
        if is_last and self._released == run.history.generation:
            return
        if is_last and run.history.unproved:
            return
        if is_last and (self._last_done == run.history.generation or len(run.ready) < 2):
            self._released = run.history.generation
            run.release()
            return
        is_due = is_last or run.step() >= self._audited_step + place.base_every_steps
        if not is_due or len(run.ready) < 2:
            return
        self._audited_step, self._is_last = run.step(), is_last
        count = audited_of(place.audit_rate, micro_batches=place.micro_batches, every_steps=place.base_every_steps)
        auditors = run.idle or run.ready
        auditor = auditors[run.history.generation % len(auditors)] if run.idle else auditors[run.step() % len(auditors)]
        self._ask(AUDIT, auditor, "audit", {"seed": self._number, "count": count})

    def _ask_for_vote(self) -> None:
        suspect = self._run.history.suspect
        assert suspect
        others = [name for name in self._run.ready if name not in (suspect["node"], suspect["auditor"])]
        # Without a third node the one that computed it is asked again: if it now agrees, it was wrong before.
        voter = others[0] if others else suspect["node"]
        if voter not in self._run.ready:
            self._unresolved(suspect)
            return
        self._ask(VOTE, voter, "audit", {"step": suspect["step"], "index": suspect["index"]})

    def _take_vote(self, task: Task, message: Message, audited: list[dict[str, Any]]) -> None:
        suspect = self._run.history.suspect
        assert suspect
        if not audited:
            if message["status"] != RetryError.exit_code:
                # The state to vote from is gone: what is on the disk is computed again.
                self._run.history.record("audit.unsettled", **suspect)
            return
        voted = audited[0]["found"]
        owner, auditor = suspect["node"], suspect["auditor"]
        named = liar(said=suspect["said"], found=suspect["found"], voted=voted, owner=owner, auditor=auditor)
        facts = {**suspect, "voter": task.node, "voted": voted, "liar": named}
        self._run.history.record("audit.voted", **facts)
        if named is None:
            self._unresolved(suspect)
            return
        kept = evidence.keep(
            self._run.place.folder,
            f"{self._run.history.generation:04d}-{named}",
            out=self._run.place.out,
            decided={"action": Action.RESTART.value, **facts},
            failures=[],
            before=[],
            stacks={},
        )
        reason = f"its digest of micro-batch {suspect['index']} of step {suspect['step']} is not what two others get"
        self._run.set_aside(named, reason=reason, evidence=str(kept))

    def _unresolved(self, suspect: dict[str, Any]) -> None:
        self._run.end(
            DeterministicError.exit_code,
            f"nodes {suspect['node']} and {suspect['auditor']} do not get the same for micro-batch {suspect['index']} "
            f"of step {suspect['step']}, and there is no third to tell who is right; add a node and run it again",
        )

    def _search(self) -> None:
        """Give windows to the nodes, as a bisection does, until the first wrong one is known."""
        history = self._run.history
        if not self._windows:
            self._windows, self._audited_step, self._unknown = windows_of(self._run.place.out), 0, set()
        if self._has(REPLAY):
            return
        wrong = history.wrong | self._unknown
        known = bounds(self._windows, sound=history.sound, wrong=wrong, good_until=history.good_until)
        if known.low < known.high:
            for name, at in zip(self._run.ready, probes(known, len(self._run.ready)), strict=False):
                self._replay(name, self._windows[at])
            return
        last = self._windows[-1].until if self._windows else 0
        after = self._windows[known.high].start if known.high < len(self._windows) else last
        passed = [(history.good_until, after)] if history.good_until < after else []
        for window in history.sound:
            passed = without(passed, window)
        if not self._run.place.audit_rate:
            # Nobody is held back at the end, so nothing may be left for later: the oldest first, one by one.
            first = next((one for one in self._windows if any(one.start <= at < one.until for at, _ in passed)), None)
            if first and self._run.ready:
                self._replay(self._run.ready[0], first)
                return
        self._windows = []
        self._roll_back(after, passed)

    def _roll_back(self, after: int, unproved: Sequence[Steps]) -> None:
        """Let the next generation begin behind a step; replays of what comes after that are of no use."""
        self._tasks = {number: task for number, task in self._tasks.items() if task.what != REPLAY}
        self._run.history.record("rolled back", after=after, unproved=list(unproved))

    def _prove(self) -> None:
        """Have nodes with nothing to do replay what a search has passed over; at the end those that train as well."""
        run = self._run
        busy = {task.node for task in self._tasks.values()}
        free = [name for name in (run.ready if run.is_at_end() else run.idle) if name not in busy]
        under_way = {task.values["window"].start for task in self._tasks.values() if task.what == REPLAY}
        if not free:
            return
        for window in windows_of(run.place.out):
            is_open = any(start < window.until and window.start < until for start, until in run.history.unproved)
            if is_open and free and window.start not in under_way:
                self._replay(free.pop(0), window)

    def _replay(self, name: str, window: Window) -> None:
        values = {"checkpoint": window.checkpoint, "until": window.until, "window": window}
        self._ask(REPLAY, name, "replay", values)

    def _take_replay(self, task: Task, message: Message) -> None:
        window: Window = task.values["window"]
        history, steps = self._run.history, (window.start, window.until)
        replayed = [json.loads(line) for line in message["result"].splitlines()]
        if len(replayed) != window.until - window.start:
            history.record("window.unknown", start=window.start, node=task.node)
            if not history.is_searching and window.checkpoint and not Path(window.checkpoint).exists():
                # A checkpoint that is no longer kept: the window is part of a longer one now.
                return
            # It has not come to an end; what is not known to be right is wrong.
            self._unknown.add(steps)
        else:
            difference = first_difference(steps_of(self._run.place.out, window), replayed)
            told = {"start": window.start, "until": window.until, "difference": str(difference or "")}
            history.record("window.replayed", node=task.node, **told)
            if not difference:
                return
        if not history.is_searching:
            self._run.halt("a window that the search had passed over is wrong")
            self._roll_back(window.start, history.unproved)

    def _take_passport(
        self, node: Node, message: Message, audited: list[dict[str, Any]], wrong: list[dict[str, Any]]
    ) -> None:
        if node.state is not State.ASKED:
            return
        if wrong and any(name not in (wrong[0]["node"], node.name) for name in self._run.ready):
            # Who is right, the one that joins or the one that trains, is for a third to say.
            node.state = State.STARTING
            if self._run.is_running:
                self._run.history.record("audit.differs", **wrong[0], auditor=node.name)
                self._run.halt("a passport differs")
        elif wrong:
            one = wrong[0]
            reason = f"its passport is wrong: micro-batch {one['index']} of step {one['step']}"
            self._run.set_aside(node.name, reason=reason, evidence=json.dumps(one))
        elif message["status"] == RetryError.exit_code:
            # What it was to start from has been replaced meanwhile.
            self.ask_for_passport(node)
        elif message["status"]:
            self._run.set_aside(node.name, reason="it could not show its passport", evidence=str(message["status"]))
        else:
            self._run.admit(node, "its passport is right" if audited else "nothing to compute again yet")

    def _has(self, what: str) -> bool:
        return any(task.what == what for task in self._tasks.values())

    def _ask(self, what: str, name: str, verb: str, values: dict[str, Any]) -> None:
        run = self._run
        self._number += 1
        self._tasks[self._number] = Task(what, name, values)
        told = Kept(
            generation=run.history.generation,
            meeting=f"{run.place.host}:0",
            token=run.place.token,
            node=name,
            all_shelves=tuple(node.shelf for node in run.members.nodes.values()),
            voids=tuple(run.history.voids),
            faults=run.place.faults,
            fault_box=run.place.fault_box,
        )
        plain = {key: value for key, value in values.items() if key != "window"}
        message = {"do": "task", "id": self._number, "verb": verb, "values": plain, "environment": tell(told)}
        self.pin()
        run.members.nodes[name].tell(message)
