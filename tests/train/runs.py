"""Tiny training runs for tests, and what came of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.hashing import hash_file
from core.journal import read_journal
from core.ledger import read_lines, trajectory_head
from core.notes import read_notes
from tests.conftest import run_module

STAGES = ("fetch", "clean", "tokenizer", "pack")


@dataclass(frozen=True)
class Result:
    """What must be equal for equal runs."""

    trajectory_head: str
    full_head: str
    weights: str
    moments: str
    artifact: str


@dataclass(frozen=True)
class Tiny:
    """A tiny recipe with its packed tokens; every run gets a folder of its own."""

    recipe: Path
    inputs: Path

    def arguments(self, out: Path, *overrides: str) -> list[str]:
        """The arguments of `python -m train run` for a run into `out`."""
        places = [f"run.out={out}", f"run.inputs={self.inputs}"]
        return [str(self.recipe), *places, "train.timeout_s=60", *overrides]


def pack_once(recipe: Path) -> Tiny:
    """Make the packed tokens of a tiny recipe."""
    for stage in STAGES:
        made = run_module("data", stage, recipe)
        assert made.returncode == 0, made.stderr
    return Tiny(recipe, recipe.parent / "runs")


def result_of(out: Path) -> Result:
    """Read a finished run."""
    pointer = json.loads((out / "train.json").read_bytes())
    folder = out / pointer["folder"]
    facts = json.loads((folder / "artifact.json").read_bytes())["facts"]
    lines = read_lines(folder / "ledger.jsonl")
    assert trajectory_head(lines[1:]) == facts["trajectory_head"]
    final = folder / facts["final"]
    return Result(
        trajectory_head=facts["trajectory_head"],
        full_head=facts["full_head"],
        weights=hash_file(final / "model.safetensors"),
        moments=hash_file(final / "optimizer.safetensors"),
        artifact=pointer["digest"],
    )


def finished_folder(out: Path) -> Path:
    """The artifact's folder of a finished run."""
    folder: str = json.loads((out / "train.json").read_bytes())["folder"]
    return out / folder


def unfinished_folder(out: Path) -> Path:
    """The folder of a run that was killed."""
    (folder,) = out.glob(".train-*.part")
    return folder


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    """The events of one name in the first rank's journal, oldest first."""
    return [event for event in read_journal(folder / "witness" / "journal-rank0.jsonl") if event["event"] == name]


def beats_of(out: Path, rank: int) -> list[dict[str, Any]]:
    """A rank's last beat, in a list, if there is one."""
    found = [read_notes(notes, "beat") for notes in out.glob(".notes-*")]
    return [beats[rank] for beats in found if rank in beats]
