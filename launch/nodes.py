"""Verb `supervise`: train a recipe under keepers, one a node, and keep them and the coordinator alive.

On one machine the nodes are emulated: each is a keeper with its ranks, which end together. This process does nothing
but start them, start the coordinator again when it is lost, and a lost keeper after `launch.node_return_s`; when it
ends, all of them do. With `launch.address` it starts the coordinator only, and keepers join from other machines
(join.py). Those outlive it for `launch.coordinator_timeout_s`: the same command, here or elsewhere, finds them at work.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from core.arguments import take
from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.config import RunConfig, load, resolve
from core.durable import told_full_disks
from core.errors import RetryError
from core.notes import DIE_WITH_PARENT, FOLDER, die_with_parent
from launch import rooms
from launch.address import split
from launch.attempts import count, state_of
from launch.check import absolute
from launch.config import LaunchConfig
from launch.decide import DONE_CODE, error_of
from launch.history import History
from launch.keeperconfig import PLACE, Place, memory_folder
from launch.local import STDERR
from launch.pipeline import alone

POLL_S = 0.02
MAX_COORDINATORS = 10
FOLDER_NAME = "keeper"
PREEMPTED = "PREEMPTED"
HERE = "127.0.0.1"


@dataclass(slots=True)
class Child:
    """A process of this one: the coordinator, or a node's keeper."""

    process: "subprocess.Popen[bytes]"
    ended_at: float = 0.0


@dataclass(slots=True)
class House:
    """The processes of a run under keepers, on this machine."""

    place: Path
    node_return_s: float
    node_prefix: Sequence[str]
    coordinator: Child
    keepers: dict[str, Child] = field(default_factory=dict)
    coordinators: int = 1

    def start_keeper(self, name: str) -> Child:
        """Start the keeper of an emulated node."""
        prefix = [word.format(node=name) for word in self.node_prefix]
        return start("keep", str(self.place), name, prefix=prefix)


def main(arguments: list[str]) -> None:
    """`RECIPE [--attempt] [key=value ...]`: train the recipe's model, whatever dies meanwhile.

    `--attempt` is for schedulers that start this again: a run that is finished is left alone, and attempts without
    progress are counted. Raises the run's error, DeterministicError after too many of those.
    """
    options, rest = take(arguments, flags=("--attempt",))
    recipe, overrides = recipe_and_overrides(rest, "python -m launch supervise")
    recipe = absolute(recipe)
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "launch", LaunchConfig, overrides)
    out = run.out_folder.resolve()
    if "--attempt" in options:
        state = state_of(recipe, overrides)
        count(out, state, most=config.max_restarts_without_progress)
        if state.folder:
            sys.stdout.write(f"{state.folder}\n")
            return
    out.mkdir(parents=True, exist_ok=True)
    with alone(out), told_full_disks(out):
        (out / PREEMPTED).unlink(missing_ok=True)
        place = place_of(
            recipe, overrides, config, out=out, micro_batches=resolve(recipe, overrides)["train"]["micro_batches"]
        )
        code = supervise_nodes(place, config)
    if code != DONE_CODE:
        raise error_of(
            code, f"the run under keepers ended with exit code {code}; why is said above, and in {place.folder}"
        )


def place_of(recipe: str, overrides: list[str], config: LaunchConfig, *, out: Path, micro_batches: int) -> Place:
    """What keepers and coordinator need to know."""
    folder = out / FOLDER_NAME
    folder.mkdir(exist_ok=True)
    host, port = split(config.address) if config.address else (HERE, 0)
    made = Place(
        recipe=recipe,
        overrides=tuple(overrides),
        folder=folder,
        out=out,
        room=Path(tempfile.mkdtemp(prefix=rooms.PREFIX, dir=memory_folder())),
        token=secrets.token_hex(16),
        host=host,
        port=port,
        nodes=config.nodes,
        ranks_per_node=config.ranks_per_node,
        spares=config.spares,
        min_nodes=config.min_nodes,
        watchdog_floor_s=config.watchdog_floor_s,
        watchdog_factor=config.watchdog_factor,
        start_s=config.start_s,
        join_s=config.join_s,
        node_timeout_s=config.node_timeout_s,
        coordinator_timeout_s=config.coordinator_timeout_s,
        base_every_steps=config.base_every_steps,
        audit_rate=config.audit_rate,
        micro_batches=micro_batches,
        quarantine_s=config.quarantine_s,
        lemon_failures=config.lemon_failures,
        max_restarts_without_progress=config.max_restarts_without_progress,
        backoff_s=config.backoff_s,
        stop_grace_s=config.stop_grace_s,
        faults=tuple(config.faults),
        fault_box=config.fault_box,
        sensor_log=config.sensor_log,
    )
    if not (folder / PLACE).exists():
        return made
    left = Place.read(folder / PLACE)
    # What a launch that was killed has left in memory.
    shutil.rmtree(left.room, ignore_errors=True)
    # Keepers of other machines may have outlived it; those of another recipe are not to be taken for this one's.
    return replace(made, token=left.token) if config.is_joined and left.made_of == made.made_of else made


def supervise_nodes(place: Place, config: LaunchConfig) -> int:
    """Start everything, and watch until the coordinator has ended with an exit code of its own; returns that."""
    rooms.sweep(memory_folder())
    rooms.claim(place.room)
    history = History(place.folder)
    is_taken_up = config.is_joined and history.is_running and is_known(place)
    path = place.write()
    history.record("taken up" if is_taken_up else "started")
    if not is_taken_up:
        place.coordinator_file.unlink(missing_ok=True)
    if config.is_joined:
        sys.stderr.write("waiting for keepers: start python -m launch join RECIPE on every machine\n")
    house = House(
        place=path,
        node_return_s=config.node_return_s,
        node_prefix=config.node_prefix,
        coordinator=start("coordinate", str(path)),
    )

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        house.coordinator.process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    try:
        names = [f"n{at}" for at in range(config.nodes + config.spares)] if not config.is_joined else []
        house.keepers = {name: house.start_keeper(name) for name in names}
        while (code := look(house)) is None:
            time.sleep(POLL_S)
        return code
    finally:
        for child in (house.coordinator, *house.keepers.values()):
            end(child)
        shutil.rmtree(place.room, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def is_known(place: Place) -> bool:
    """Whether keepers that the launch before has left know this one's token."""
    path = place.folder / PLACE
    return path.exists() and Place.read(path).token == place.token


def look(house: House) -> int | None:
    """Start again what has died; returns the coordinator's exit code once it has one of its own."""
    code = house.coordinator.process.poll()
    if code is not None and code >= 0:
        return code
    if code is not None:
        house.coordinators += 1
        if house.coordinators > MAX_COORDINATORS:
            raise RetryError(f"the coordinator was lost {MAX_COORDINATORS} times; run the same command again")
        house.coordinator = start("coordinate", str(house.place))
    now = time.monotonic()
    for name, child in house.keepers.items():
        if child.process.poll() is not None:
            child.ended_at = child.ended_at or now
            if house.node_return_s and now - child.ended_at > house.node_return_s:
                house.keepers[name] = house.start_keeper(name)
    return None


def start(verb: str, *arguments: str, prefix: Sequence[str] = ()) -> Child:
    """Start a process of launch/ that dies with this one."""
    environment = {name: value for name, value in os.environ.items() if name != FOLDER}
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "launch", verb, *arguments],
        cwd=ROOT,
        env={**environment, DIE_WITH_PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=STDERR,
        # A group of its own: an interrupt from the keyboard reaches this process alone, which passes it on.
        process_group=0,
        preexec_fn=die_with_parent,
    )
    return Child(process)


def end(child: Child) -> None:
    """End a process; what is below it ends too. A keeper that was told that it is over is given a moment."""
    try:
        child.process.wait(0.5)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait()
