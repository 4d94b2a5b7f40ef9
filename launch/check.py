"""Asks every folder to check the recipe before anything starts, so that a typo in the last section costs a second."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.config import RunConfig, load, resolve
from core.errors import ConfigError
from core.stages import Stage, stages_of
from launch.config import LaunchConfig
from launch.decide import error_of
from launch.local import STDERR
from launch.stages import folders
from launch.starters import environment_of

# What the folders read; a section that nobody reads is a typo. Every section's content is checked by its owner.
SECTIONS = (
    *("run", "sources", "data", "clean", "tokenizer", "pack", "model", "profile"),
    *("train", "merge", "quantize", "evaluate", "export", "release", "launch"),
)


def main(arguments: list[str]) -> None:
    """Verb `check`: say nothing if every folder accepts the recipe."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m launch check")
    check(absolute(recipe), overrides, stages=stages_of(absolute(recipe), overrides), root=ROOT)


def absolute(recipe: str) -> str:
    """A recipe given as a file, as the stages find it, which start in the checkout."""
    return str(Path(recipe).resolve()) if recipe.endswith((".yaml", ".yml")) else recipe


def check(recipe: str, overrides: Sequence[str], *, stages: list[Stage], root: Path) -> tuple[RunConfig, LaunchConfig]:
    """Check the whole recipe, all folders at once; returns the sections that the launcher reads itself.

    Raises the error of the first folder that refuses the recipe, with what every folder has to say.
    """
    unknown = sorted(set(resolve(recipe, overrides)) - set(SECTIONS))
    if unknown:
        raise ConfigError(
            f"recipe {recipe} has a section {unknown[0]} that nobody reads; there are {', '.join(SECTIONS)}"
        )
    run = load(recipe, "run", RunConfig, overrides)
    if run.inputs_folder != run.out_folder:
        raise ConfigError(f"run.inputs is {run.inputs}, but launch makes every input itself; leave run.inputs out")
    config = load(recipe, "launch", LaunchConfig, overrides)
    environment_of(config)
    checks = {folder: _start(folder, recipe, overrides, root) for folder in folders(stages)}
    said = {folder: process.communicate()[1].strip() for folder, process in checks.items()}
    refused = [folder for folder, process in checks.items() if process.returncode]
    if refused:
        # Folders that read the same section say the same of it.
        lines = dict.fromkeys(_line(folder, said[folder]) for folder in refused)
        raise error_of(checks[refused[0]].returncode, "; ".join(lines))
    warnings = [line for words in said.values() for line in words.splitlines() if line.startswith("warning: ")]
    sys.stderr.write("".join(f"{line}\n" for line in dict.fromkeys(warnings)))
    return run, config


def _line(folder: str, said: str) -> str:
    if said.startswith("error: ") and "\n" not in said:
        return said.removeprefix("error: ")
    sys.stderr.write(f"{said}\n")
    return f"python -m {folder} check crashed, its words are above"


def _start(folder: str, recipe: str, overrides: Sequence[str], root: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", folder, "check", recipe, *overrides]
    return subprocess.Popen(
        command, cwd=root, stdin=subprocess.DEVNULL, stdout=STDERR, stderr=subprocess.PIPE, text=True
    )
