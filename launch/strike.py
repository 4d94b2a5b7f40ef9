"""One rank of `launch run` is killed on purpose, so that every run shows what it survives.

What happened is kept in the witness of the artifact that was being made, `witness/drill.json`. So a rank is killed
once per training artifact, however often the run is interrupted, and the closing table can tell of it later.
"""

import json
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from core.artifact import WITNESS
from core.durable import write_durably
from launch.config import LaunchConfig
from launch.local import Generation

RECORD = "drill.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """What a drill has shown; `resumed_from` and `seconds` are None until a rank has made the next step."""

    rank: int
    killed_at_step: int
    time: float
    resumed_from: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        killed = f"rank {self.rank} killed by SIGKILL at step {self.killed_at_step}"
        if self.seconds is None:
            return f"{killed}, nothing trained since"
        return f"{killed}, went on from step {self.resumed_from}, {self.seconds:.1f} s to the next step"


def strike(generation: Generation, config: LaunchConfig) -> Survived | None:
    """Kill the rank that the configuration names if its hour has come; returns what was done."""
    beat = generation.beats().get(config.kill_rank)
    work = generation.work()
    if not config.is_drill or beat is None or work is None or beat["step"] < config.kill_at_step:
        return None
    struck = Survived(rank=config.kill_rank, killed_at_step=beat["step"], time=time.time())
    # The record comes first: a launcher that is killed in between must not kill a rank a second time.
    if read(work) or not _write(work, struck):
        return None
    os.kill(beat["pid"], signal.SIGKILL)
    return struck


def complete(folder: Path, beats: Iterable[Mapping[str, Any]]) -> Survived | None:
    """Complete the record in `folder` once a later generation has made a step; returns it the first time."""
    struck = read(folder)
    if struck is None or struck.seconds is not None:
        return None
    later = [(beat["first_time"], beat["first_step"]) for beat in beats if beat["first_time"] > struck.time]
    if not later:
        return None
    first_time, first_step = min(later)
    survived = replace(struck, resumed_from=first_step - 1, seconds=first_time - struck.time)
    return survived if _write(folder, survived) else None


def read(folder: Path) -> Survived | None:
    """The drill's record in an artifact, or in what is to become one; None if there was no drill."""
    path = folder / WITNESS / RECORD
    if not path.exists():
        return None
    facts: dict[str, Any] = json.loads(path.read_bytes())
    return Survived(**facts)


def _write(folder: Path, survived: Survived) -> bool:
    """Write the record; returns False if the folder has just got its final name, or never existed."""
    try:
        (folder / WITNESS).mkdir(exist_ok=True)
        write_durably(folder / WITNESS / RECORD, json.dumps(asdict(survived)).encode())
    except FileNotFoundError:
        return False
    return True
