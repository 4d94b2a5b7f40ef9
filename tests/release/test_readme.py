"""Every command of README.md works as written.

The commands run on the tests' tiny run, in the place of `smoke` and its folder. Three do not: `make smoke` and
`make test` would run this test; `release reproduce` is run, on the same tiny bundle, by test_reproduce.py; a whole
`launch run` is run by the fixture, so here its recipe and overrides are checked as written, by `launch check`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.codetree import ROOT
from release.__main__ import VERBS

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
LINES = [line.partition("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith(("make ", "python ", "torchrun ", ". "))]
ELSEWHERE = ("make ", "python -m release reproduce ")


def tiny(command: str, *, recipe: Path, runs: Path, folder: Path) -> str:
    """A command of the README for the tiny run."""
    if command.startswith("python -m launch run "):
        return command.replace("launch run", "launch check")
    command = command.replace("/tmp/", f"{folder}/")
    command = command.replace("runs/smoke/bundle-*/smoke", f"{runs}/bundle-*/tiny").replace("runs/smoke", str(runs))
    return command.replace(" smoke ", f" {recipe} ")


def test_the_two_commands_are_on_the_first_screen_and_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("make smoke", "make test"):
        assert command in "\n".join(README.splitlines()[:20])
        assert f"\n{command.removeprefix('make ')}:" in makefile


def test_every_command_works_as_written(checkout: Path, runs: Path, recipe: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ran = [command for command in COMMANDS if not command.startswith((*ELSEWHERE, ". "))]
    assert len(ran) >= 5
    for command in ran:
        line = tiny(command, recipe=recipe, runs=runs, folder=tmp_path)
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{line}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("python -m release ")])
def test_the_verbs_of_release_exist(command: str) -> None:
    assert command.split()[3] in VERBS
