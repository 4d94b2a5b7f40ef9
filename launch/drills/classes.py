"""The classes of faults that a drill knows: how each is injected for real, and how it should show.

To inject is to send a signal, to spoil a file, to fill a disk, or to lay a fault into the box (core/faultbox.py) for a
rank to suffer at a point that only it passes. A function returns what it hit, or None: a target that was gone already
is no fault that was survived.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from core import faultbox
from core.faults import COMMIT
from launch.drills.machines import OUTSIDE
from launch.drills.scene import Scene, Target, children, descendants, parent

ARMED_S = 20.0
SLOW_S, SLOW_TURN_S = 2.0, 0.05
# Less than half of launch.node_timeout_s, after which a machine is lost, and more than it (NETWORKED in drill.py).
FLAP_S, LOSSY_S, SEVERED_S = 0.6, 2.0, 5.0
PHASES = ("compute", "reduce", "log", "update", "write")
# Where training and its checkpoint stand: before this share of the steps a lie is caught while the run lasts.
EARLY = 0.6
KERNEL_LINE = "[{at:.6f}] NVRM: Xid (PCI:0000:3b:00): {code}, pid=0, name=drill, {words}\n"


class Shows(Enum):
    """How a fault should show."""

    RESTARTS = "a new generation"
    QUIET = "nothing: no new generation"
    SET_ASIDE = "the node in quarantine"
    ENDS = "the end of the run, which is started again"
    EITHER = "whatever it is, training goes on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """What was struck, and when."""

    time: float
    node: str = ""
    rank: int = -1
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What a fault is drawn from, and its number, by which the box knows it."""

    number: int
    source: random.Random
    steps: int


Strike = Callable[[Scene, Draw], Hit | None]


@dataclass(frozen=True, slots=True)
class Class:
    """A class of faults; `kinds` is what the coordinator should take it for, and `exit_code` with what the run ends."""

    strike: Strike
    shows: Shows = Shows.RESTARTS
    kinds: tuple[str, ...] = ("CRASH",)
    exit_code: int = 0
    # What is to be undone when it has shown.
    undo: Callable[[Scene, Draw, Hit], None] | None = None


def _rank(scene: Scene, draw: Draw, *, first: bool | None = None) -> Target | None:
    found = [one for one in scene.targets() if first is None or (one.rank == 0) == first]
    return draw.source.choice(found) if found else None


def _send(number: int, pids: Sequence[int]) -> bool:
    """Send a signal to processes; returns whether all were there."""
    is_there = True
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            is_there = False
    return is_there


def signalled(scene: Scene, draw: Draw, *, number: int, first: bool | None = None) -> Hit | None:
    """A signal to a rank."""
    target = _rank(scene, draw, first=first)
    now = time.time()
    if target is None or not _send(number, [target.pid]):
        return None
    return Hit(time=now, node=target.node, rank=target.rank)


def suffered(scene: Scene, draw: Draw, *, text: str, phases: Sequence[str], first: bool | None = None) -> Hit | None:
    """A fault that a rank does to itself at a point that it passes."""
    target = _rank(scene, draw, first=first)
    if target is None:
        return None
    phase = draw.source.choice(list(phases))
    return _lay(scene, draw, f"{text.format(rank=target.rank)},phase={phase}")


def _lay(scene: Scene, draw: Draw, text: str) -> Hit | None:
    faultbox.arm(scene.box, draw.number, text)
    scene.wait(lambda: faultbox.struck(scene.box, draw.number), seconds=ARMED_S)
    found = faultbox.struck(scene.box, draw.number)
    if found is None:
        faultbox.disarm(scene.box, draw.number)
        # It may have struck in between.
        found = faultbox.struck(scene.box, draw.number)
    if found is None:
        return None
    rank = int(found.get("rank") or -1)
    return Hit(time=found["time"], node=found.get("node", ""), rank=rank, facts={"fault": text, **found})


def slowed(scene: Scene, draw: Draw) -> Hit | None:
    """A rank that gets half of the time."""
    target = _rank(scene, draw)
    if target is None:
        return None
    now, turns = time.time(), 0
    while time.time() - now < SLOW_S and _send(signal.SIGSTOP, [target.pid]):
        time.sleep(SLOW_TURN_S)
        _send(signal.SIGCONT, [target.pid])
        time.sleep(SLOW_TURN_S)
        turns += 1
    return Hit(time=now, node=target.node, rank=target.rank, facts={"turns": turns}) if turns else None


def node_signalled(scene: Scene, draw: Draw, *, number: int, is_training: bool = True) -> Hit | None:
    """A signal to a keeper and to all below it: ranks, and what ranks are forked from."""
    nodes = scene.nodes(is_training=is_training)
    if not nodes or (is_training and not scene.targets()):
        return None
    name = draw.source.choice(sorted(nodes))
    pids = [*reversed(descendants(nodes[name])), nodes[name]]
    now = time.time()
    if parent(nodes[name]) == 0:
        return None
    _send(number, pids)
    return Hit(time=now, node=name, facts={"pids": pids})


def wake(scene: Scene, draw: Draw, hit: Hit) -> None:
    """Let a frozen node go on, in a generation that is not its own any more."""
    _send(signal.SIGCONT, hit.facts["pids"])


def zygote_killed(scene: Scene, draw: Draw) -> Hit | None:
    """The process that a node's ranks were forked from."""
    nodes = scene.nodes(is_training=True) if scene.targets() else {}
    name = draw.source.choice(sorted(nodes)) if nodes else ""
    found = children(nodes[name]) if nodes else []
    now = time.time()
    return Hit(time=now, node=name) if found and _send(signal.SIGKILL, found[:1]) else None


def coordinator_killed(scene: Scene, draw: Draw) -> Hit | None:
    """The coordinator, with SIGKILL."""
    pid = scene.coordinator()
    now = time.time()
    if not pid or not _send(signal.SIGKILL, [pid]):
        return None
    is_back = scene.wait(lambda: scene.coordinator() not in (0, pid), seconds=ARMED_S)
    return Hit(time=now, facts={"seen": time.time() if is_back else 0.0})


def disk_filled(scene: Scene, draw: Draw) -> Hit | None:
    """No room where the run writes, for some seconds; only if somebody asked for some meanwhile."""
    if not scene.is_disk_small:
        return None
    now, ballast = time.time(), scene.out / "ballast"
    with ballast.open("wb") as stream, suppress(OSError):
        while True:
            left = shutil.disk_usage(scene.out).free
            os.posix_fallocate(stream.fileno(), stream.tell(), max(left, 1))
            stream.seek(0, os.SEEK_END)
    free = shutil.disk_usage(scene.out).free
    scene.wait(lambda: scene.exit_code is not None, seconds=draw.source.uniform(1.5, 4.0))
    ballast.unlink()
    named = ("journal.waited", "failed", "ended")
    scene.wait(lambda: scene.told(*named, since=now) or scene.said("disk.full", since=now), seconds=2.0)
    is_met = bool(scene.told(*named, since=now) or scene.said("disk.full", since=now) or scene.exit_code)
    return Hit(time=now, facts={"free_bytes": free}) if is_met else None


def shelf_spoiled(scene: Scene, draw: Draw) -> Hit | None:
    """One bit of a base in a keeper's memory; then a rank is killed, so that it is asked for."""
    nodes = scene.nodes(is_training=True)
    if not nodes:
        return None
    hit = _lay(scene, draw, f"rot@node={draw.source.choice(sorted(nodes))}")
    killed = signalled(scene, draw, number=signal.SIGKILL) if hit else None
    return Hit(time=killed.time, node=killed.node, rank=killed.rank, facts=hit.facts) if hit and killed else None


def checkpoint_spoiled(scene: Scene, draw: Draw) -> Hit | None:
    """One bit of the newest checkpoint on the disk; then a rank is killed, so that it is read."""
    scene.wait(lambda: _checkpoints(scene), seconds=ARMED_S)
    found = _checkpoints(scene)
    if not found or not scene.targets():
        return None
    with suppress(FileNotFoundError):
        flip_bit(found[-1], at=draw.source.randrange(found[-1].stat().st_size * 8))
        hit = signalled(scene, draw, number=signal.SIGKILL)
        path = {"checkpoint": found[-1].parent.name}
        return Hit(time=hit.time, node=hit.node, rank=hit.rank, facts=path) if hit else None
    return None


def _checkpoints(scene: Scene) -> list[Path]:
    return sorted(scene.out.glob(".train-*.part/checkpoints/step-*/model.safetensors"))


def flip_bit(path: Path, *, at: int) -> None:
    """Turn one bit of a file."""
    with path.open("r+b") as stream:
        stream.seek(at // 8)
        (byte,) = stream.read(1)
        stream.seek(at // 8)
        stream.write(bytes([byte ^ (1 << at % 8)]))


def lied(scene: Scene, draw: Draw) -> Hit | None:
    """A node gives wrong gradients from now on, if there are two others and enough steps to catch it."""
    nodes = scene.nodes(is_training=True)
    if not nodes or len(nodes) + len(scene.nodes(is_training=False)) < 3 or scene.step > EARLY * draw.steps:
        return None
    return _lay(scene, draw, f"flip@node={draw.source.choice(sorted(nodes))}")


def mend(scene: Scene, draw: Draw, hit: Hit) -> None:
    """Take a lasting fault out again."""
    faultbox.disarm(scene.box, draw.number)


def sensed(scene: Scene, draw: Draw, *, codes: Mapping[int, str]) -> Hit | None:
    """A word of the driver in the kernel's log of a node."""
    nodes = scene.nodes(is_training=True)
    if not nodes:
        return None
    name, code = draw.source.choice(sorted(nodes)), draw.source.choice(sorted(codes))
    now = time.time()
    with (scene.sensors / f"{name}.log").open("a") as stream:
        stream.write(KERNEL_LINE.format(at=time.monotonic(), code=code, words=codes[code]))
    is_read = scene.wait(lambda: scene.told("sensor.told", since=now), seconds=ARMED_S)
    return Hit(time=now, node=name, facts={"code": code}) if is_read else None


def asked_to_stop(scene: Scene, draw: Draw, *, number: int) -> Hit | None:
    """A signal to `launch supervise` itself."""
    assert scene.process
    now = time.time()
    return Hit(time=now) if _send(number, [scene.process.pid]) else None


def cut_off(scene: Scene, draw: Draw, *, is_unplugged: bool = False) -> Hit | None:
    """A machine that trains hears nobody any more and is heard by nobody; no connection ends by that."""
    nodes = scene.nodes(is_training=True)
    if not nodes or not scene.targets():
        return None
    name = draw.source.choice(sorted(nodes))
    now = time.time()
    if is_unplugged:
        scene.machines[name].unplug()
    else:
        scene.machines[name].drop()
    return Hit(time=now, node=name)


def connect_again(scene: Scene, draw: Draw, hit: Hit) -> None:
    """Let it hear, in a generation that is not its own any more."""
    scene.machines[hit.node].heal()
    scene.machines[hit.node].plug_in()


def parted(scene: Scene, draw: Draw) -> Hit | None:
    """Two machines that train do not hear each other any more, the coordinator and a spare hear both."""
    nodes = sorted(scene.nodes(is_training=True))
    if len(nodes) < 2 or not scene.nodes(is_training=False) or not scene.targets():
        return None
    one, other = draw.source.sample(nodes, 2)
    now = time.time()
    scene.machines[one].drop_between(scene.machines[other])
    return Hit(time=now, node=one, facts={"other": other})


def flapped(scene: Scene, draw: Draw, *, share: float, seconds: float, is_node: bool = True) -> Hit | None:
    """A machine's link, or the coordinator's, loses a share of the packets for so long; only if it has lost some."""
    nodes = scene.nodes(is_training=True)
    if not nodes or not scene.targets():
        return None
    name = draw.source.choice(sorted(nodes)) if is_node else OUTSIDE
    machine, now = scene.machines[name], time.time()
    machine.drop(share=share)
    try:
        scene.wait(lambda: False, seconds=now + seconds - time.time())
        lost = machine.dropped()
    finally:
        machine.heal()
    facts = {"lost_packets": lost, "seconds": time.time() - now}
    return Hit(time=now, node=name if is_node else "", facts=facts) if lost else None


CLASSES: dict[str, Class] = {
    "rank killed": Class(partial(signalled, number=signal.SIGKILL, first=False)),
    "store host killed": Class(partial(signalled, number=signal.SIGKILL, first=True)),
    "abort": Class(partial(suffered, text="abort@rank={rank}", phases=PHASES)),
    "segfault": Class(partial(suffered, text="segfault@rank={rank}", phases=PHASES)),
    "out of memory": Class(partial(suffered, text="oom@rank={rank}", phases=("compute", "update")), kinds=("OOM",)),
    "error": Class(partial(suffered, text="raise@rank={rank}", phases=PHASES), kinds=("ERROR",)),
    "no number": Class(partial(suffered, text="nan@rank={rank}", phases=("compute",)), kinds=("ERROR",)),
    "rank frozen": Class(partial(signalled, number=signal.SIGSTOP), kinds=("HANG",)),
    "hang in a phase": Class(partial(suffered, text="sleep@rank={rank}", phases=PHASES), kinds=("HANG",)),
    "slow rank": Class(slowed, Shows.QUIET),
    "node lost": Class(partial(node_signalled, number=signal.SIGKILL), kinds=("LOST",)),
    "zombie node": Class(partial(node_signalled, number=signal.SIGSTOP), kinds=("LOST", "HANG"), undo=wake),
    "spare lost": Class(partial(node_signalled, number=signal.SIGKILL, is_training=False), Shows.QUIET),
    "zygote killed": Class(zygote_killed),
    "coordinator killed": Class(coordinator_killed, Shows.QUIET),
    "disk full": Class(disk_filled, Shows.EITHER),
    "disk slow": Class(
        partial(suffered, text="sleep@rank={rank},seconds=1.5", phases=COMMIT[2:], first=True), Shows.QUIET
    ),
    "bit in memory": Class(shelf_spoiled),
    "bit in a checkpoint": Class(checkpoint_spoiled),
    "node that lies": Class(lied, Shows.SET_ASIDE, undo=mend),
    "asked to stop, SIGTERM": Class(partial(asked_to_stop, number=signal.SIGTERM), Shows.ENDS, exit_code=143),
    "asked to stop, SIGUSR1": Class(partial(asked_to_stop, number=signal.SIGUSR1), Shows.ENDS, exit_code=143),
    "machine lost": Class(partial(asked_to_stop, number=signal.SIGKILL), Shows.ENDS, exit_code=-9),
    "clock ahead": Class(partial(suffered, text="skew@rank={rank}", phases=("compute",), first=False), Shows.QUIET),
    "GPU off the bus": Class(partial(sensed, codes={79: "GPU has fallen off the bus."}), Shows.SET_ASIDE),
    "GPU memory error": Class(partial(sensed, codes={48: "DBE", 95: "Uncontained"}), Shows.SET_ASIDE),
    "GPU link error": Class(partial(sensed, codes={74: "NVLink"}), Shows.SET_ASIDE),
    "GPU program error": Class(partial(sensed, codes={13: "Graphics Exception", 31: "MMU Fault"}), Shows.QUIET),
    "network cut": Class(cut_off, kinds=("LOST", "HANG"), undo=connect_again),
    "cable pulled": Class(partial(cut_off, is_unplugged=True), kinds=("LOST", "HANG"), undo=connect_again),
    "cut between two": Class(parted, kinds=("HANG", "PEER"), undo=connect_again),
    "link flaps": Class(partial(flapped, share=1.0, seconds=FLAP_S), Shows.QUIET),
    "link loses packets": Class(partial(flapped, share=0.1, seconds=LOSSY_S), Shows.QUIET),
    "coordinator cut off": Class(partial(flapped, share=1.0, seconds=SEVERED_S, is_node=False), kinds=("LOST",)),
    **{
        f"killed at {phase}": Class(
            partial(suffered, text="crash@rank={rank}", phases=(phase,), first=None if phase == COMMIT[1] else True)
        )
        for phase in COMMIT
    },
}
# These need machines with a network between them (machines.py).
OF_NETWORKS = (
    "network cut",
    "cable pulled",
    "cut between two",
    "link flaps",
    "link loses packets",
    "coordinator cut off",
)
