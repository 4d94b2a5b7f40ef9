"""Verb digests: what every step of a run is fed, as hashes, recomputed from the pack alone.

A ledger's `batch` field is the digest of its step, so these lines can be held against it without training anything.
"""

import sys
from pathlib import Path
from typing import Any

from core.arguments import Parser
from core.config import resolve
from core.errors import ConfigError
from data.loader import Loader

USAGE = "python -m data digests [RECIPE] --pack DIR --steps N [--micro-batches M --micro-batch B]"


def main(arguments: list[str]) -> None:
    """Verb `digests`: write the digest of steps 1..N, one a line; M and B are the recipe's where not given."""
    parser = Parser(USAGE)
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--micro-batches", type=int)
    parser.add_argument("--micro-batch", type=int)
    given = parser.parse_args(arguments)
    if given.steps < 1:
        raise ConfigError(f"--steps is {given.steps}; give at least 1")
    micro_batches, micro_batch = _shape(given)
    loader = Loader.open(given.pack, micro_batches=micro_batches, micro_batch=micro_batch)
    sys.stdout.writelines(f"{loader.digest(step)}\n" for step in range(1, given.steps + 1))


def _shape(given: Any) -> tuple[int, int]:
    if given.micro_batches and given.micro_batch:
        return given.micro_batches, given.micro_batch
    if given.recipe is None:
        raise ConfigError(f"give --micro-batches and --micro-batch, or a recipe that says them; usage: {USAGE}")
    train = resolve(given.recipe)["train"]
    return given.micro_batches or train["micro_batches"], given.micro_batch or train["micro_batch"]
