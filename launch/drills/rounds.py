"""A round of a drill: one run under keepers from its first step to its last, faults all the while, its hash at the end.

round-0001/run          the run's folder; a small disk of its own where the system allows one
round-0001/box, sensors where faults are laid
round-0001/round.json   what came of it; a round with this file is finished and is not repeated
"""

import ctypes
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.artifact import current
from core.durable import write_durably
from core.errors import DataError, RetryError
from launch import goodput
from launch.attempts import note
from launch.drills.classes import CLASSES, Draw
from launch.drills.config import DrillConfig
from launch.drills.machines import machines, placed_on
from launch.drills.scene import STEPPED, Scene
from launch.drills.schedule import Planned
from launch.drills.verdict import LOST, MAX_STARTS, NOTHING, Told, watch

RECORD = "round.json"
DONE = 0
CLONE_NEWNS = 0x00020000
KEPT_JOURNALS = ("keeper/journal.jsonl", "journal.jsonl")
FINAL = ("weights_sha256", "trajectory_head", "full_head", "state_root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """What must be equal: the artifact's digest, and the hashes that it is made of."""

    digest: str
    hashes: dict[str, str]

    @classmethod
    def of(cls, out: Path) -> "Final":
        """A finished training's. Raises DataError if there is none."""
        artifact = current(out, "train")
        return cls(digest=artifact.digest, hashes={name: artifact.facts[name] for name in FINAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A finished round. `seconds` by what they were spent on; `why` says what is wrong and is empty if nothing is."""

    number: int
    drawn: int
    faults: list[Told]
    final: Final | None
    why: str
    seconds: dict[str, float]
    steps: int
    starts: int
    first_start_s: float = 0.0

    def write(self, folder: Path) -> None:
        """Write it down."""
        write_durably(folder / RECORD, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, path: Path) -> "Round":
        """What was written down."""
        return cls.of(json.loads(path.read_bytes()))

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Round":
        """From its fields as JSON."""
        values = dict(plain)
        values["faults"] = [Told(**one) for one in values["faults"]]
        values["final"] = Final(**values["final"]) if values["final"] else None
        return cls(**values)


def play(
    folder: Path,
    number: int,
    *,
    arguments: Callable[[Path], list[str]],
    plans: Iterator[Planned],
    is_enough: Callable[[int], bool],
    config: DrillConfig,
    steps: int,
    disk_bytes: int,
    machine_count: int,
    wanted: Final,
) -> Round:
    """Run once through the recipe; faults come from `plans` until `is_enough` of those injected here.

    `machine_count` machines with a network between them have a node each; with 0 all are on this one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("run", "box", "sensors"):
        (folder / name).mkdir(parents=True)
    out = folder / "run"
    with small_disk(out, disk_bytes) as is_small, machines(machine_count) as made_machines:
        scene = Scene(
            [*arguments(folder), *placed_on(made_machines)],
            out=out,
            box=folder / "box",
            sensors=folder / "sensors",
            log=folder / "run.log",
            machines=made_machines,
        )
        scene.is_disk_small = is_small
        try:
            faults, drawn = _strike(scene, plans, is_enough, config=config, steps=steps)
            why = _finish(scene, config)
        finally:
            scene.stop()
        made = _judged(scene, number, drawn=drawn, faults=faults, why=why, wanted=wanted)
        _keep_journals(out, folder)
    made.write(folder)
    return made


def _strike(
    scene: Scene, plans: Iterator[Planned], is_enough: Callable[[int], bool], *, config: DrillConfig, steps: int
) -> tuple[list[Told], int]:
    """Inject faults until the run is over; returns what became of them, and how many were drawn."""
    faults: list[Told] = []
    scene.start()
    while not is_enough(sum(one.is_injected for one in faults)):
        if not scene.wait(scene.is_training, seconds=config.patience_s):
            if _is_revived(scene):
                continue
            break
        plan = next(plans)
        told = inflict(scene, plan, config=config, steps=steps)
        faults.append(told)
        _say(told)
        if told.verdict == LOST:
            break
    return faults, len(faults)


def inflict(scene: Scene, plan: Planned, *, config: DrillConfig, steps: int) -> Told:
    """Pause, inject one fault, and see what follows."""
    told = Told(number=plan.number, name=plan.name, verdict=NOTHING, is_hasty=plan.is_hasty)
    kind, draw = CLASSES[plan.name], Draw(number=plan.number, source=random.Random(plan.seed), steps=steps)
    scene.wait(lambda: False, seconds=plan.pause_s)
    if plan.is_hasty:
        _unsettle(scene, draw, config)
    before = scene.generation
    hit = kind.strike(scene, draw) if scene.exit_code is None else None
    if hit is None:
        return told
    note(scene.out, "fault.injected", fault=plan.name, time=hit.time)
    watch(scene, kind, draw, hit, told=told, before=before, patience_s=config.patience_s)
    return told


def _unsettle(scene: Scene, draw: Draw, config: DrillConfig) -> None:
    """Kill a rank first, so that the fault meets a generation that has just begun."""
    before = scene.generation
    CLASSES["rank killed"].strike(scene, draw)
    scene.wait(lambda: scene.generation > before and scene.targets(), seconds=config.patience_s)


def _finish(scene: Scene, config: DrillConfig) -> str:
    """Let the run come to its end; returns why it did not."""
    step = -1
    while scene.step > step or scene.exit_code is None:
        step = scene.step
        is_on = scene.wait(partial(_is_beyond, scene, step), seconds=config.patience_s)
        if scene.exit_code == DONE:
            return ""
        if scene.exit_code is None and not is_on:
            return f"no step was finished in {config.patience_s:g} s"
        if scene.exit_code is not None and not _is_revived(scene):
            break
    return f"the run ended with exit code {scene.exit_code}"


def _is_beyond(scene: Scene, step: int) -> bool:
    return scene.step > step


def _is_revived(scene: Scene) -> bool:
    """Start the run again if it has asked for it."""
    if scene.exit_code != RetryError.exit_code or scene.starts > MAX_STARTS:
        return False
    scene.start()
    return True


def _judged(scene: Scene, number: int, *, drawn: int, faults: list[Told], why: str, wanted: Final) -> Round:
    final, account = None, {}
    steps = starts = 0
    first_start_s = 0.0
    try:
        final = Final.of(scene.out) if not why else None
        found = goodput.read(scene.out)
        account = {kind.value: seconds for kind, seconds in found.account.seconds.items()}
        steps, starts, first_start_s = found.steps, found.lives, found.first_start_s
    except DataError as error:
        why = why or str(error)
    if final and final != wanted:
        why = f"its digest is {final.digest[:12]}, that of the undisturbed run {wanted.digest[:12]}"
    scene.look()
    count_redone(faults, scene.said(STEPPED))
    return Round(
        number=number,
        drawn=drawn,
        faults=faults,
        final=final,
        why=why,
        seconds=account,
        steps=steps,
        starts=starts,
        first_start_s=first_start_s,
    )


def count_redone(faults: list[Told], steps: list[dict[str, Any]]) -> None:
    """Add to each fault the committed steps that it set the run back by and that were computed again."""
    injected = [one for one in faults if one.is_injected]
    lost_by: dict[int, Told] = {}
    last = 0
    for event in steps:
        step = event["step"]
        if step <= last:
            before = [one for one in injected if one.time <= event["time"]]
            lost_by |= dict.fromkeys(range(step, last + 1), before[-1]) if before else {}
        if step in lost_by and event["compute_seconds"] > 0:
            lost_by.pop(step).redone_steps += 1
        last = step


def _keep_journals(out: Path, folder: Path) -> None:
    """What explains a round later; its disk goes with it."""
    for path in [*(out / name for name in KEPT_JOURNALS), *out.rglob("journal-rank*.jsonl")]:
        if path.exists():
            kept = folder / "journals" / f"{path.parent.name}-{path.name}"
            kept.parent.mkdir(exist_ok=True)
            shutil.copy(path, kept)


def _say(told: Told) -> None:
    times = f": found {told.found_s:.2f} s, new step {told.recovered_s:.2f} s" if told.recovered_s >= 0 else ""
    where = f" on {told.node}" if told.node else ""
    sys.stderr.write(f"fault {told.number}, {told.name}{where}: {told.verdict}{times} {told.why}".rstrip() + "\n")
    sys.stderr.flush()


def open_mounts() -> bool:
    """Give this process, and those that it starts, mounts of their own; returns whether the system lets it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        return False
    made = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False)
    return made.returncode == 0


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Mount a disk of so many bytes there (0: none), as long as it is needed; gives whether there is one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    is_small = size > 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield is_small
    finally:
        if is_small:
            subprocess.run(["umount", "-l", str(folder)], check=True)
