"""Verb inspect: one HTML file in which a person can look at what a stage of data/ made.

Reads finished artifacts, whose files are held against their hashes first, and writes the page. It is a pure function of
the artifacts, the number of samples and the seed: the same page shows the same documents.
"""

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from core.arguments import Parser
from core.artifact import Artifact, current, verify_files
from core.config import RunConfig, load
from core.durable import write_durably
from core.errors import ConfigError, DataError
from data.inspection import cleaned, fetched, packed, tokenized
from data.inspection.blocks import Block, Section
from data.inspection.page import render

USAGE = "python -m data inspect RECIPE [key=value ...] [--stage S] [--out FILE.html] [--samples N] [--seed S]"


class Stage(Enum):
    """The stages of data/, in their order."""

    FETCH = "fetch"
    CLEAN = "clean"
    TOKENIZER = "tokenizer"
    PACK = "pack"


ALL = "all"


def main(arguments: list[str]) -> None:
    """Run the verb: write the page and its path to standard output."""
    parser = Parser(USAGE)
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--stage", choices=[ALL, *(stage.value for stage in Stage)], default=ALL)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_intermixed_args(arguments)
    if given.samples < 0:
        raise ConfigError(f"--samples is {given.samples}; give 0 or more")
    run = load(given.recipe, "run", RunConfig, given.overrides)
    sections = inspect(run.inputs_folder, given.stage, samples=given.samples, seed=given.seed)
    out = given.out or run.out_folder / f"inspect-{given.stage}.html"
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it, or write elsewhere")
    write_durably(out, render(f"Data: {given.stage if given.stage != ALL else 'all stages'}", sections))
    sys.stdout.write(f"{out}\n")


def inspect(folder: Path, stage: str, *, samples: int, seed: int) -> list[Section]:
    """What there is to see of a stage, or of all that have been run. Raises DataError if there is none."""
    asked = [one for one in Stage if stage in (one.value, ALL)]
    there = [one for one in asked if stage != ALL or (folder / f"{one.value}.json").exists()]
    if not there:
        raise DataError(f"no stage of data has been run in {folder}; run one first, for example python -m data fetch")
    return [_section(folder, one, samples=samples, seed=seed) for one in there]


def _section(folder: Path, stage: Stage, *, samples: int, seed: int) -> Section:
    artifact = current(folder, stage.value)
    verify_files(artifact)
    return Section(
        stage=stage.value,
        artifact=artifact.folder.name,
        digest=artifact.digest,
        came_in=artifact.facts["came_in"],
        went_out=artifact.facts["went_out"],
        blocks=list(_blocks(folder, stage, artifact, samples=samples, seed=seed)),
    )


def _blocks(folder: Path, stage: Stage, artifact: Artifact, *, samples: int, seed: int) -> Iterator[Block]:
    if stage is Stage.FETCH:
        return fetched.blocks(artifact, samples=samples, seed=seed)
    if stage is Stage.CLEAN:
        return cleaned.blocks(artifact, samples=samples, seed=seed)
    if stage is Stage.TOKENIZER:
        return tokenized.blocks(artifact, _input(folder, artifact, "clean"), samples=samples, seed=seed)
    return packed.blocks(artifact, _input(folder, artifact, "tokenizer"), samples=samples, seed=seed)


def _input(folder: Path, artifact: Artifact, stage: str) -> Artifact | None:
    """The very artifact that another was made from, verified; None if the stage has made another one since."""
    if not (folder / f"{stage}.json").exists():
        return None
    found = current(folder, stage)
    if found.digest != artifact.record["inputs"][stage]:
        return None
    verify_files(found)
    return found
