"""Nodes that a job leaves alone: those in the run's quarantine file whose time is not over.

The file is quarantine.py's; keepers write it, and so may people.
"""

import re
import sys
import time
from pathlib import Path

from core.cli import recipe_and_overrides
from core.config import RunConfig, load
from core.errors import ConfigError
from launch.check import absolute
from launch.nodes import FOLDER_NAME
from launch.quarantine import NAME, Quarantine


def main(arguments: list[str]) -> None:
    """Verb `quarantined`: write the nodes that are left alone now, one a line."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m launch quarantined")
    run = load(absolute(recipe), "run", RunConfig, overrides)
    sys.stdout.write("".join(f"{node}\n" for node in excluded(run.out_folder, now=time.time())))


def excluded(out: Path, *, now: float) -> list[str]:
    """The nodes, sorted. Raises ConfigError if the file is not as it should be: people edit it."""
    path = out / FOLDER_NAME / NAME
    try:
        nodes = sorted(node for node, entry in Quarantine(path.parent).entries().items() if now < entry["until"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f'{path} is not {{"node": {{"until": seconds, ...}}, ...}}; mend or remove it') from error
    strange = [node for node in nodes if not re.fullmatch(r"[\w.-]+", node)]
    if strange:
        raise ConfigError(f"{path} names {strange[0]!r}, no name of a node; mend it")
    return nodes
