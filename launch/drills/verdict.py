"""What became of a fault, as the journals of the run tell it: found when, recovered from when, or not at all."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.errors import Preempted, RetryError
from launch.drills.classes import Class, Draw, Hit, Shows
from launch.drills.scene import STEPPED, Event, Scene, descendants, parent

SURVIVED, NOTHING, MISSED, LOST, RESTARTED = "survived", "hit nothing", "not found", "not recovered", "restarted"
DONE = 0
QUIET_S = 1.5
GONE_S = 20.0
MAX_STARTS = 200


@dataclass(slots=True, kw_only=True)
class Told:
    """One fault; times are in seconds since it was injected, -1 where there is none."""

    number: int
    name: str
    verdict: str
    time: float = 0.0
    node: str = ""
    rank: int = -1
    is_hasty: bool = False
    found_s: float = -1.0
    recovered_s: float = -1.0
    redone_steps: int = 0
    taken_for: str = ""
    why: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def is_injected(self) -> bool:
        """Whether it hit something."""
        return self.verdict != NOTHING


def watch(scene: Scene, kind: Class, draw: Draw, hit: Hit, *, told: Told, before: int, patience_s: float) -> None:
    """Wait for what should follow, start the run again where it ended as it may, and fill in what followed."""
    told.time, told.node, told.rank, told.facts = hit.time, hit.node, hit.rank, dict(hit.facts)
    _Watch(scene, kind, draw, hit, told, before, patience_s).follow()


@dataclass(slots=True)
class _Watch:
    scene: Scene
    kind: Class
    draw: Draw
    hit: Hit
    told: Told
    before: int
    patience_s: float

    def follow(self) -> None:
        follow = {
            Shows.RESTARTS: self._restarts,
            Shows.QUIET: self._is_quiet,
            Shows.SET_ASIDE: self._is_set_aside,
            Shows.ENDS: self._ends,
            Shows.EITHER: self._goes_on,
        }[self.kind.shows]
        follow()
        if self.kind.undo:
            self.kind.undo(self.scene, self.draw, self.hit)
            if self.kind.shows is Shows.RESTARTS and self.told.verdict == SURVIVED:
                self._stays_quiet()

    def _restarts(self) -> None:
        if not self._await(self._failed):
            self._end_as(MISSED)
            return
        first = self._failed()[0]
        self.told.found_s = first["time"] - self.hit.time
        self.told.taken_for = "" if first["kind"] in self.kind.kinds else first["kind"]
        self._recovers()

    def _failed(self, *, since: float = 0.0) -> list[Event]:
        return self.scene.told("failed", since=since or self.hit.time)

    def _is_set_aside(self) -> None:
        if not self._await(self._set_aside):
            self._end_as(MISSED)
            return
        self.told.found_s = self._set_aside()[0]["time"] - self.hit.time
        self._recovers()

    def _set_aside(self) -> list[Event]:
        return [one for one in self.scene.told("quarantined", since=self.hit.time) if one["node"] == self.hit.node]

    def _recovers(self) -> None:
        if not self._await(self._new_step):
            self._end_as(LOST)
            return
        new = self._new_step()
        assert new
        self.told.verdict, self.told.recovered_s = SURVIVED, new["time"] - self.hit.time

    def _new_step(self) -> Event | None:
        return self.scene.new_step(after_generation=self.before, since=self.hit.time + max(self.told.found_s, 0.0))

    def _is_quiet(self) -> None:
        self.scene.wait(self._failed, seconds=QUIET_S)
        seen = self.hit.facts.get("seen") or next(
            (one["time"] for one in self.scene.told("spare.lost", "sensor.told", since=self.hit.time)), 0.0
        )
        self.told.found_s = seen - self.hit.time if seen else -1.0
        since = time.time()
        if not self._await(lambda: self.scene.said(STEPPED, since=since)) and self.scene.exit_code != DONE:
            self._end_as(LOST)
            return
        self._is_undisturbed(since=self.hit.time)

    def _is_undisturbed(self, *, since: float) -> None:
        """A new generation because a node has come back is none that the fault has brought."""
        why = [one["reason"] for one in self._failed(since=since)]
        self.told.verdict, self.told.why = (RESTARTED, "; ".join(why)) if why else (SURVIVED, "")

    def _stays_quiet(self) -> None:
        """What has come back must not disturb those that went on without it."""
        since = time.time()
        self.scene.wait(lambda: self._failed(since=since), seconds=QUIET_S)
        self._is_undisturbed(since=since)

    def _ends(self) -> None:
        scene = self.scene
        assert scene.process
        below = descendants(scene.process.pid)
        if not scene.wait(lambda: scene.exit_code is not None, seconds=self.patience_s, is_end_awaited=True):
            self._end_as(MISSED)
            return
        code = scene.exit_code
        if code == DONE:
            self.told.verdict, self.told.why = NOTHING, "the run was done"
            return
        self.told.found_s = time.time() - self.hit.time
        if code not in (self.kind.exit_code, RetryError.exit_code):
            self.told.verdict, self.told.why = LOST, f"the run ended with exit code {code}"
            return
        if code == Preempted.exit_code and not (scene.out / "PREEMPTED").exists():
            self.told.verdict, self.told.why = LOST, "no file PREEMPTED"
            return
        if not scene.wait(lambda: not any(map(parent, below)), seconds=GONE_S, is_end_awaited=True):
            self.told.why = "processes were left behind"
        scene.start()
        self._recovers()

    def _goes_on(self) -> None:
        since = time.time()
        self.told.found_s = next(
            (
                one["time"] - self.hit.time
                for one in [
                    *self.scene.told("journal.waited", "failed", "ended", since=self.hit.time),
                    *self.scene.said("disk.full", since=self.hit.time),
                ]
            ),
            -1.0,
        )
        if not self._await(lambda: self.scene.said(STEPPED, since=since)) and self.scene.exit_code != DONE:
            self._end_as(LOST)
            return
        self.told.verdict = SURVIVED
        if self.scene.exit_code != DONE:
            self.told.recovered_s = self.scene.said(STEPPED, since=since)[0]["time"] - self.hit.time

    def _await(self, is_so: Callable[[], Any]) -> bool:
        """Wait; a run that ends with 75 asks to be started again, and is."""
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            if self.scene.wait(is_so, seconds=deadline - time.monotonic()):
                return True
            if self.scene.exit_code != RetryError.exit_code or self.scene.starts > MAX_STARTS:
                return False
            self.told.facts["started_again"] = self.told.facts.get("started_again", 0) + 1
            self.scene.start()
        return False

    def _end_as(self, verdict: str) -> None:
        code = self.scene.exit_code
        if code == DONE:
            # The last steps needed nothing of what was hit.
            self.told.verdict, self.told.why = NOTHING, "the run was done"
            return
        self.told.verdict = verdict
        self.told.why = f"the run ended with exit code {code}" if code is not None else "nothing for too long"
