"""Verb plan: what a recipe costs before anything is started: parameters, operations, memory, communication.

Free of torch. Exit code 64 if the ranks do not fit into the machine's memory.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from core.cli import recipe_and_overrides
from core.errors import ConfigError
from train.memory import PROCESS_BYTES, activation_bytes, memory, sent_bytes
from train.recipe import Recipe, read_recipe, window_tokens

USAGE = "python -m train plan"
JSON = "--json"
OPTIONS = ("--ranks", "--memory-gb")
MEMINFO = Path("/proc/meminfo")
GB = 1_000_000_000


def main(arguments: Sequence[str]) -> None:
    """`RECIPE [--ranks N] [--memory-gb G] [--json] [key=value ...]`. Raises ConfigError if it does not fit."""
    values: dict[str, str] = {}
    rest: list[str] = []
    iterator = iter(arguments)
    for argument in iterator:
        if argument in OPTIONS:
            values[argument] = next(iterator, "")
        elif argument != JSON:
            rest.append(argument)
    name, overrides = recipe_and_overrides(rest, USAGE)
    recipe = read_recipe(name, overrides)
    ranks = int(_number(values, "--ranks", default=1))
    if ranks > recipe.train.micro_batches:
        raise ConfigError(
            f"--ranks is {ranks}, but a step has only train.micro_batches = {recipe.train.micro_batches}; plan with at "
            "most that many"
        )
    planned = plan(recipe, ranks=ranks, seq_len=window_tokens(name, overrides, recipe=recipe))
    sys.stdout.write(json.dumps(planned) + "\n" if JSON in arguments else _as_lines(planned))
    has = int(_number(values, "--memory-gb", default=available_bytes() / GB) * GB)
    check_fit(planned, has=has)


def plan(recipe: Recipe, *, ranks: int, seq_len: int) -> dict[str, Any]:
    """All numbers by name; bytes are of the busiest rank, and `bytes_of_all_ranks` has the processes in it."""
    model, train = recipe.model, recipe.train
    held = memory(recipe, ranks=ranks, seq_len=seq_len, is_recomputed=train.is_recomputed)
    tokens = train.micro_batches * train.micro_batch * seq_len
    return {
        "placement": train.placement.value,
        "ranks": ranks,
        "seq_len": seq_len,
        "parameters": model.parameter_count,
        "flops_per_token": model.flops_per_token(seq_len),
        "tokens_per_step": tokens,
        "flops_of_run": model.flops_per_token(seq_len) * tokens * train.steps,
        "bytes_per_rank": {
            **{part.name: getattr(held, part.name) for part in fields(held) if part.name != "placement"},
            "total": held.total,
            "process": PROCESS_BYTES,
        },
        "activation_bytes_recomputed": activation_bytes(recipe, seq_len=seq_len, is_recomputed=True),
        "sent_bytes_per_step": sent_bytes(recipe, ranks=ranks),
        "bytes_of_all_ranks": ranks * (held.total + PROCESS_BYTES),
    }


def check_fit(planned: dict[str, Any], *, has: int) -> None:
    """Raise ConfigError if the ranks need more bytes than the machine has."""
    needed = planned["bytes_of_all_ranks"]
    if needed > has:
        raise ConfigError(
            f"{planned['ranks']} ranks need {needed / GB:.1f} GB at their peak, and there are {has / GB:.1f} GB; lower "
            "train.micro_batch, take train.placement=fsdp2 over more machines, or a smaller model"
        )


def available_bytes() -> int:
    """What the kernel could give to new processes without swapping."""
    for line in MEMINFO.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise ConfigError(f"{MEMINFO} does not tell the available memory; give --memory-gb")


def _number(values: dict[str, str], option: str, *, default: float) -> float:
    text = values.get(option, str(default))
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0 or (option == "--ranks" and number != int(number)):
        raise ConfigError(
            f"{option} is {text!r}; give {'a whole number' if option == '--ranks' else 'a number'} above 0"
        )
    return number


def _as_lines(planned: dict[str, Any]) -> str:
    rows = [(name, value) for name, value in planned.items() if name != "bytes_per_rank"]
    held = [(f"  {name}", value) for name, value in planned["bytes_per_rank"].items()]
    whole = [*rows, ("bytes_per_rank", ""), *held]
    width = max(len(name) for name, _ in whole)
    return "".join(f"{name:<{width}}  {_told(value)}".rstrip() + "\n" for name, value in whole)


def _told(value: int | str) -> str:
    return f"{value:>20,}" if isinstance(value, int) else f"{value:>20}"
