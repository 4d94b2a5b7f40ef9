"""The coordinator's journal: everything that it decides, on the disk before it is done, and the state that follows.

One JSON line an event. A coordinator that is started anew reads it and knows what the one before it knew.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

from core.journal import read_journal
from launch.decide import Failure, Kind
from launch.room import write_patiently
from launch.search import Steps, without

NAME = "journal.jsonl"
Line = dict[str, Any]


class History:
    """The journal and the state that follows from it.

    generation      the newest one, and `seated` the nodes that train in it, in the order of their ranks
    trained         the nodes that have ever been seated
    best_step       the furthest step that any generation has reached
    idle_restarts   restarts since then
    causes          causes of failures since then
    failed_at       when each node failed
    voids           (generation, step): all that generations before that one have made after that step is void
    void_after      steps after this one are to be forgotten by the next generation; -1: none
    is_running      whether the newest generation's ranks were not ended
    suspect         what an audit has found and no vote has settled
    sound           windows, first and last step, that were replayed and are as the ledger says
    wrong           windows that are not, in the search that is under way
    unproved        ranges of steps that a search passed over: they are to be replayed before the end
    first_seated    the newest checkpoint's step when a node first trained: what came before is not its doing
    good_until      steps up to this one are not in question in the search that is under way
    is_searching    whether it is being searched for the first steps that were computed wrongly
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        # The last line may be half written: one that a coordinator was killed in, or that there was no room for.
        self._is_torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        self.generation, self.seated = 0, list[str]()
        self.best_step, self.idle_restarts = 0, 0
        self.causes: list[Failure] = []
        self.failed_at: dict[str, list[float]] = {}
        self.void_after = -1
        self.voids: list[tuple[int, int]] = []
        self.is_running = self.is_searching = False
        self.suspect: Line | None = None
        self.sound: set[Steps] = set()
        self.wrong: set[Steps] = set()
        self.unproved: list[Steps] = []
        self.first_seated: dict[str, int] = {}
        self.good_until = 0
        self.trained: set[str] = set()
        for line in read_journal(self.path):
            self._apply(line)

    def record(self, event: str, **facts: Any) -> None:
        """Write an event down, force it to the disk, and let the state follow."""
        line = {"time": time.time(), "event": event, **facts}
        waited = write_patiently(lambda: self._write(line), str(self.path))
        self._apply(line)
        if waited:
            self.record("journal.waited", seconds=waited)

    def _write(self, line: Line) -> None:
        with self.path.open("ab") as stream:
            if self._is_torn:
                stream.write(b"\n")
            self._is_torn = True
            stream.write(json.dumps(line).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._is_torn = False

    def fail(self, failure: Failure, *, action: str, reason: str) -> None:
        """Write down the cause of a failure and what is done about it."""
        plain = {name: getattr(failure, name) for name in ("node", "rank", "step", "code", "word")}
        self.record("failed", kind=failure.kind.name, **plain, action=action, reason=reason)

    def progress(self, step: int) -> None:
        """A generation has reached a step."""
        if step > self.best_step:
            if self.idle_restarts or self.causes:
                self.record("progressed", step=step)
            self.best_step = step

    def _apply(self, line: Line) -> None:
        event = line["event"]
        self._apply_audits(event, line)
        if event == "started":
            self.seated, self.causes, self.idle_restarts, self.is_running = [], [], 0, False
        elif event == "generation.began":
            self.generation, self.seated, self.is_running = line["generation"], line["seated"], True
            self.trained |= set(self.seated)
            for name in self.seated:
                self.first_seated.setdefault(name, line.get("saved", 0))
        elif event in ("halted", "ended"):
            self.is_running = False
        elif event == "progressed":
            self.best_step, self.idle_restarts, self.causes = line["step"], 0, []
        elif event == "failed":
            self.idle_restarts += 1
            names = ("node", "rank", "step", "code", "word")
            self.causes.append(Failure(kind=Kind[line["kind"]], **{name: line[name] for name in names}))
            self.failed_at.setdefault(line["node"], []).append(line["time"])

    def _apply_audits(self, event: str, line: Line) -> None:
        if event == "started" and self.suspect:
            # Nobody holds the state any more that could settle it: what is on the disk is computed again.
            self._begin_search(0)
        elif event == "window.replayed":
            window = (line["start"], line["until"])
            if line["difference"]:
                self.wrong.add(window)
            else:
                self.sound.add(window)
                self.unproved = without(self.unproved, window)
        elif event == "audit.differs":
            self.suspect = {name: value for name, value in line.items() if name not in ("time", "event")}
        elif event == "audit.voted":
            # An auditor that lied has lied in training too, if it has trained.
            self.suspect = None
            if line["liar"] in self.trained:
                self._begin_search(self.first_seated.get(line["liar"], 0))
        elif event == "audit.unsettled":
            self._begin_search(0)
        elif event == "rolled back":
            self.void_after, self.best_step, self.is_searching = line["after"], line["after"], False
            self.voids.append((self.generation + 1, line["after"]))
            # A window that began with wrong weights may have been replayed as it was, and is computed anew.
            self.sound = {window for window in self.sound if window[1] <= line["after"]}
            passed = sorted({*self.unproved, *(tuple(one) for one in line.get("unproved", []))})
            self.unproved = [(start, min(until, line["after"])) for start, until in passed if start < line["after"]]
        elif event == "void.gone":
            self.void_after = -1

    def _begin_search(self, good_until: int) -> None:
        self.suspect, self.is_searching, self.good_until = None, True, good_until
        self.wrong = set()


def written_generation(out: Path) -> int:
    """The newest generation that the run's unfinished folder knows of."""
    found = [int(path.read_text()) for path in out.glob(".train-*.part/witness/generation")]
    return max(found, default=0)
