"""Runs that must end, and for the right reason: what would happen again is not tried again for ever.

Each is a short run of the recipe under keepers with a fault that never goes away; judged by its exit code, by what the
coordinator wrote down, and by the evidence that it left.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from core.artifact import current
from core.codetree import ROOT
from core.durable import write_durably
from core.journal import read_journal
from launch.drills.classes import flip_bit

RECORD = "end.json"
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Case:
    """A run that must end: the fault, with which exit code, and a word that the reason must have."""

    fault: str
    exit_code: int
    word: str
    overrides: tuple[str, ...] = ()


CASES = {
    "the same error at the same step": Case("raise@rank=1,step=3", 65, "a fault that was asked for"),
    "a gradient that is never a number": Case("nan@rank=1,step=3", 65, "not finite"),
    "out of memory twice": Case("oom@rank=1,step=3", 65, "MemoryError"),
    "the same crash at the same step": Case("segfault@rank=1,step=3", 65, "SIGSEGV"),
    "the same hang at the same step": Case(
        "sleep@rank=1,step=3", 75, "brought no progress", ("launch.max_restarts_without_progress=1",)
    ),
    "damaged data": Case("", 66, "SHA-256"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How such a run ended; `why` says what is wrong with that and is empty if nothing is."""

    name: str
    exit_code: int
    reason: str
    why: str


def play(folder: Path, name: str, *, arguments: Callable[[Path], list[str]], inputs: Path) -> End:
    """Run one case, or find what came of it."""
    if (folder / RECORD).exists():
        return End(**json.loads((folder / RECORD).read_bytes()))
    case = CASES[name]
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "run").mkdir(parents=True)
    more = [f'launch.faults=["{case.fault}"]'] if case.fault else [f"run.inputs={spoil(inputs, folder / 'inputs')}"]
    command = [sys.executable, "-m", "launch", "supervise", *arguments(folder), *more, *case.overrides]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    (folder / "run.log").write_text(done.stderr)
    end = judge(name, case, done.returncode, folder / "run" / "keeper")
    write_durably(folder / RECORD, json.dumps(asdict(end)).encode())
    return end


def judge(name: str, case: Case, exit_code: int, keeper: Path) -> End:
    """Whether a run that ended this way, and left this folder, was stopped for the right reason."""
    events = read_journal(keeper / "journal.jsonl")
    reason = next((str(one["message"]) for one in reversed(events) if one["event"] == "ended"), "")
    evidence = "".join(path.read_text() for path in sorted(keeper.glob("evidence/*/failure.json")))
    why = ""
    if exit_code != case.exit_code:
        why = f"it ended with {exit_code}, not {case.exit_code}"
    elif case.word not in reason:
        why = f"its reason says nothing of {case.word!r}"
    elif case.word not in evidence:
        why = f"its evidence says nothing of {case.word!r}"
    return End(name=name, exit_code=exit_code, reason=reason, why=why)


def spoil(inputs: Path, folder: Path) -> Path:
    """A copy of the packed tokens, one bit of which is another; returns the folder."""
    pack = current(inputs, "pack").folder
    shutil.copytree(pack, folder / pack.name)
    shutil.copy(inputs / "pack.json", folder)
    largest = max(
        (path for path in (folder / pack.name).rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    flip_bit(largest, at=largest.stat().st_size * 4)
    return folder
