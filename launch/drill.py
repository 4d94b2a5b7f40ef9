"""Verb `drill`: inject faults of every class into runs under keepers, and see whether each ends as if nothing had been.

First the recipe is trained undisturbed, by one rank without a keeper (or found, if that was done). Then it is trained
again and again under keepers, with faults that are drawn from `launch.drill.seed`, until enough of them have hit
something. Every run must end with the artifact of the undisturbed one, to the last byte. Below `<run.out>/drill-<key>`:

    undisturbed/    the run that nothing happened to
    round-0001/     a run with faults (drills/rounds.py); finished ones are kept when a drill is interrupted
    end-.../        runs that must end (drills/ends.py)
    report.json, report.md
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.cli import recipe_and_overrides
from core.codetree import ROOT, code_hash
from core.config import RunConfig, load, resolve
from core.durable import write_durably
from core.errors import ConfigError, DeterministicError
from core.hashing import hash_value
from launch.check import absolute
from launch.config import LaunchConfig
from launch.decide import error_of
from launch.drills import ends, machines, report, rounds
from launch.drills.classes import CLASSES, OF_NETWORKS
from launch.drills.config import DrillConfig
from launch.drills.report import Report
from launch.drills.rounds import Final, Round
from launch.drills.schedule import schedule
from launch.pipeline import alone

# What a recipe's own keepers are too patient for. Overrides of the command line come later and win.
KEEPERS = (
    *("launch.nodes=2", "launch.ranks_per_node=2", "launch.spares=1", "launch.base_every_steps=10"),
    *("launch.watchdog_floor_s=4", "launch.node_timeout_s=2", "launch.start_s=30", "launch.node_return_s=0.5"),
    # Every node of a drill fails often, and is wanted back.
    *("launch.lemon_failures=0", "launch.quarantine_s=3", "launch.max_restarts_without_progress=5"),
    *("launch.backoff_s=0.5", "launch.stop_grace_s=20", "launch.audit_rate=0.25"),
)
# A link that flaps is waited for, also while the processors have more to do than they can.
NETWORKED = ("launch.node_timeout_s=3",)
DISK_CLASS = "disk full"
DISK_RUNS, DISK_MORE_BYTES = 4, 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """What is drilled."""

    recipe: str
    overrides: Sequence[str]
    folder: Path
    inputs: Path
    config: DrillConfig
    steps: int
    nodes: int
    is_networked: bool

    def trained(self, out: Path) -> list[str]:
        """The arguments of a training into a folder."""
        return [self.recipe, *self.overrides, f"run.out={out}", f"run.inputs={self.inputs}"]

    def kept(self, folder: Path) -> list[str]:
        """The arguments of a run under keepers in a round's folder."""
        places = [f"run.out={folder / 'run'}", f"run.inputs={self.inputs}"]
        seams = [f"launch.fault_box='{folder / 'box'}'", f"launch.sensor_log='{folder / 'sensors'}/{{node}}.log'"]
        own = (*KEEPERS, *(NETWORKED if self.is_networked else ()))
        return [self.recipe, *own, *self.overrides, *places, *(seams if (folder / "box").exists() else [])]


def main(arguments: list[str]) -> None:
    """Drill, and say what came of it. Raises DeterministicError if anything is not as it should be."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m launch drill")
    recipe = absolute(recipe)
    run = load(recipe, "run", RunConfig, overrides)
    launch = load(recipe, "launch", LaunchConfig, [*KEEPERS, *overrides])
    config = launch.drill
    unknown = [name for name in config.classes if name not in CLASSES]
    if unknown:
        raise ConfigError(f"launch.drill.classes has {unknown[0]!r}, which is none of {', '.join(CLASSES)}")
    plain = resolve(recipe, overrides)
    folder = run.out_folder.resolve() / f"drill-{_key(plain, config)}"
    drill = Drill(
        recipe=recipe,
        overrides=overrides,
        folder=folder,
        inputs=run.inputs_folder.resolve(),
        config=config,
        steps=plain["train"]["steps"],
        nodes=launch.nodes + launch.spares,
        is_networked=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        made = play(drill)
    write_durably(folder / "report.json", report.as_json(made).encode())
    write_durably(folder / "report.md", report.as_markdown(made).encode())
    sys.stdout.write(f"{report.as_table(made)}\n{folder}\n")
    sys.stdout.flush()
    if made.wrong:
        raise DeterministicError(f"the drill found {len(made.wrong)} things that are not as they should be, above")


def play(drill: Drill) -> Report:
    """All of it."""
    began, load_before = time.time(), os.getloadavg()[0]
    wanted = undisturbed(drill)
    has_mounts = rounds.open_mounts()
    asked = drill.config.classes or list(CLASSES)
    absent = left_out(asked, has_mounts=has_mounts)
    names = [name for name in asked if name not in absent]
    for name, why in absent.items():
        sys.stderr.write(f"left out, {name}: {why}\n")
    if not names:
        raise ConfigError("none of launch.drill.classes can be injected here, as said above; ask for others")
    drill = replace(drill, is_networked=any(name in OF_NETWORKS for name in names))
    made = _rounds(drill, names, wanted=wanted, disk_bytes=_disk_bytes(drill) if has_mounts else 0)
    ended = []
    for number, name in enumerate(ends.CASES if drill.config.has_ends else (), start=1):
        end = ends.play(drill.folder / f"end-{number}", name, arguments=drill.kept, inputs=drill.inputs)
        sys.stderr.write(f"{name}: {end.exit_code}, {end.why or 'as it should'}\n")
        ended.append(end)
    return Report(
        seed=drill.config.seed,
        commit=_commit(),
        load=(load_before, os.getloadavg()[0]),
        seconds=time.time() - began,
        undisturbed=wanted.digest,
        rounds=made,
        ends=ended,
        left_out=absent,
    )


def left_out(names: Sequence[str], *, has_mounts: bool) -> dict[str, str]:
    """Of these classes, those that cannot be injected here, and why."""
    found = {}
    if DISK_CLASS in names and not has_mounts:
        found[DISK_CLASS] = "this user may not mount a small disk"
    of_networks = [name for name in names if name in OF_NETWORKS]
    why = machines.why_not() if of_networks else ""
    return found | (dict.fromkeys(of_networks, why) if why else {})


def undisturbed(drill: Drill) -> Final:
    """The run that nothing happens to; found if it is there. Raises its error if it fails."""
    out = drill.folder / "undisturbed"
    command = [sys.executable, "-m", "train", "run", *drill.trained(out)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise error_of(done.returncode, "the undisturbed run failed; why is said above")
    return Final.of(out)


def _rounds(drill: Drill, names: Sequence[str], *, wanted: Final, disk_bytes: int) -> list[Round]:
    """Rounds until enough faults were injected; finished ones are found."""
    config, began = drill.config, time.time()
    made: list[Round] = []

    def injected() -> int:
        return sum(one.is_injected for done in made for one in done.faults)

    def is_enough(more: int) -> bool:
        return injected() + more >= config.faults and time.time() - began >= config.seconds

    while not made or not is_enough(0):
        number = len(made) + 1
        folder = drill.folder / f"round-{number:04d}"
        if (folder / rounds.RECORD).exists():
            made.append(Round.read(folder / rounds.RECORD))
            continue
        after = sum(done.drawn for done in made)
        plans = schedule(names, seed=config.seed, every_s=config.every_s, hasty_share=config.hasty_share, after=after)
        done = rounds.play(
            folder,
            number,
            arguments=drill.kept,
            plans=plans,
            is_enough=is_enough,
            config=config,
            steps=drill.steps,
            disk_bytes=disk_bytes,
            machine_count=drill.nodes if drill.is_networked else 0,
            wanted=wanted,
        )
        made.append(done)
        sys.stderr.write(f"round {number}: {done.why or 'equal'}; {injected()} of {config.faults} faults\n")
        if not done.drawn and not is_enough(0):
            raise DeterministicError(f"round {number} was over before a fault could be injected; give it more steps")
    return made


def _disk_bytes(drill: Drill) -> int:
    """A disk with room for the run and what is moved aside, and not for much more."""
    files = (path for path in (drill.folder / "undisturbed").rglob("*") if path.is_file())
    return DISK_RUNS * sum(path.stat().st_size for path in files) + DISK_MORE_BYTES


def _key(plain: dict[str, object], config: DrillConfig) -> str:
    """Of all that decides what is drilled, but for how much: a drill can be made longer."""
    launch = {**plain["launch"], "drill": {"seed": config.seed, "classes": config.classes, "every": config.every_s}}  # type: ignore[dict-item]
    return hash_value({"recipe": {**plain, "launch": launch}, "code": [code_hash("train"), code_hash("launch")]})[:12]


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "no commit"
