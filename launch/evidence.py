"""A folder of evidence for each failure that ends a run or a node's part in it: enough to look into it afterwards.

failure.json      what failed together, the causes before, what was decided
stacks.txt        what the ranks were doing, where they could still say it
journal.txt       the coordinator's last lines, and those of every rank's journal
environment.json  machine, Python, packages, and the variables that profiles set
"""

import json
import os
import platform
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from core.durable import write_durably
from launch.decide import Failure
from launch.room import write_patiently

NAME = "evidence"
LAST_LINES = 40
# Only variables that decide numbers or processes: others may hold secrets.
TOLD = ("MKL_", "OMP_", "ATEN_", "ONEDNN_", "CUDA_", "NCCL_", "GLOO_", "SLURM_JOB_ID", "SLURM_NODELIST", "PYTHON")


def keep(
    folder: Path,
    name: str,
    *,
    out: Path,
    decided: Mapping[str, Any],
    failures: Sequence[Failure],
    before: Sequence[Failure],
    stacks: Mapping[int, str],
) -> Path:
    """Write the folder of one failure; returns it."""
    kept = folder / NAME / name
    told = {"decided": dict(decided), "failures": _plain(failures), "before": _plain(before)}
    said = "".join(f"--- rank {rank}\n{text or 'no answer: it was frozen'}\n" for rank, text in sorted(stacks.items()))
    files = {
        "failure.json": json.dumps(told, indent=1),
        "stacks.txt": said,
        "journal.txt": _journals(folder, out),
        "environment.json": json.dumps(_environment(), indent=1),
    }
    write_patiently(partial(_write, kept, files), str(folder))
    return kept


def prepare() -> None:
    """Look up beside other work what would hold up a recovery: reading the packages takes a second."""
    threading.Thread(target=_environment, daemon=True).start()


def _write(kept: Path, files: Mapping[str, str]) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_durably(kept / name, text.encode())


def _plain(failures: Sequence[Failure]) -> list[dict[str, Any]]:
    return [asdict(one) | {"kind": one.kind.name} for one in failures]


def _journals(folder: Path, out: Path) -> str:
    paths = [folder / "journal.jsonl", *sorted(out.glob(".train-*.part/witness/journal-rank*.jsonl"))]
    found = [(path, path.read_text(errors="replace").splitlines()[-LAST_LINES:]) for path in paths if path.exists()]
    return "".join(f"--- {path.name}\n" + "\n".join(lines) + "\n" for path, lines in found)


@cache
def _environment() -> dict[str, Any]:
    return {
        "machine": platform.platform(),
        "python": sys.version,
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(TOLD)},
        "packages": {one.metadata["Name"]: one.version for one in distributions()},
    }
