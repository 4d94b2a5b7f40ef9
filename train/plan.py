"""Verb plan: what a recipe costs before anything is started: parameters, operations, memory, communication.

Free of torch. Exit code 64 if the ranks of a node do not fit into its memory.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from core.arguments import take
from core.cli import recipe_and_overrides
from core.errors import ConfigError
from train.config import Objective
from train.held import Cluster
from train.machine import available_bytes
from train.memory import PROCESS_BYTES, activation_bytes, memory
from train.recipe import Recipe, heldout_tokens, read_recipe, window_tokens
from train.traffic import sent

USAGE = "python -m train plan"
JSON = "--json"
OPTIONS = ("--ranks", "--node-ranks", "--memory-gb")
GB = 1_000_000_000


def main(arguments: Sequence[str]) -> None:
    """`RECIPE [--ranks N] [--node-ranks K] [--memory-gb G] [--json] [key=value ...]`. Raises ConfigError if too big."""
    values, rest = take(arguments, values=OPTIONS, flags=[JSON])
    name, overrides = recipe_and_overrides(rest, USAGE)
    recipe = read_recipe(name, overrides)
    ranks = int(_number(values, "--ranks", default=1))
    if ranks > recipe.train.micro_batches:
        raise ConfigError(
            f"--ranks is {ranks}, but a step has only train.micro_batches = {recipe.train.micro_batches}; plan with at "
            "most that many"
        )
    inside = int(_number(values, "--node-ranks", default=recipe.train.node_ranks or ranks))
    if ranks % inside:
        raise ConfigError(f"--ranks is {ranks}, --node-ranks {inside}; give nodes of the same size")
    planned = plan(
        recipe,
        cluster=Cluster(ranks=ranks, node_ranks=inside),
        seq_len=window_tokens(name, overrides, recipe=recipe),
        evaluated_tokens=heldout_tokens(name, overrides, recipe=recipe),
    )
    sys.stdout.write(json.dumps(planned) + "\n" if JSON in values else _as_lines(planned))
    has = int(_number(values, "--memory-gb", default=available_bytes() / GB) * GB)
    check_fit(planned, has=has)


def plan(recipe: Recipe, *, cluster: Cluster, seq_len: int, evaluated_tokens: int = 0) -> dict[str, Any]:
    """All numbers by name; bytes are of the busiest rank, and `bytes_of_node` has the processes in it.

    An evaluation, of `evaluated_tokens` at most, is a forward, a third of a step's operations, and holds less than one.
    So is the pass for the reference of preferences, whose micro-batches have two rows a pair; it takes each pair once,
    at most as many as the steps take, and a whole model before the run's own is laid out.
    """
    is_paired = recipe.train.objective is Objective.PREFERENCE
    if is_paired:
        recipe = replace(recipe, train=replace(recipe.train, micro_batch=2 * recipe.train.micro_batch))
    model, train = recipe.model, recipe.train
    held, traffic = memory(recipe, cluster=cluster, seq_len=seq_len), sent(recipe, cluster=cluster)
    tokens = train.micro_batches * train.micro_batch * seq_len
    evaluations = sum(train.is_evaluated(step) for step in range(1, train.steps + 1))
    return {
        "placement": train.placement.value,
        "ranks": cluster.ranks,
        "node_ranks": cluster.node_ranks,
        "seq_len": seq_len,
        "parameters": model.parameter_count,
        "flops_per_token": model.flops_per_token(seq_len),
        "tokens_per_step": tokens,
        "flops_of_run": model.flops_per_token(seq_len) * tokens * train.steps,
        "flops_of_evaluations": model.flops_per_token(seq_len) // 3 * evaluated_tokens * evaluations,
        **({"flops_of_reference": model.flops_per_token(seq_len) // 3 * tokens * train.steps} if is_paired else {}),
        "bytes_per_rank": {
            **{part.name: getattr(held, part.name) for part in fields(held)},
            "total": held.total,
            "process": PROCESS_BYTES,
        },
        "activation_bytes_recomputed": activation_bytes(recipe, seq_len=seq_len, is_recomputed=True),
        "sent_bytes_per_step": traffic.total,
        "sent_bytes_inside_node": traffic.inside,
        "bytes_of_node": cluster.node_ranks * (held.total + PROCESS_BYTES),
    }


def check_fit(planned: dict[str, Any], *, has: int) -> None:
    """Raise ConfigError if the ranks of a node need more bytes than it has."""
    needed = planned["bytes_of_node"]
    if needed > has:
        raise ConfigError(
            f"{planned['node_ranks']} ranks need {needed / GB:.1f} GB at their peak, and there are {has / GB:.1f} GB; "
            "lower train.micro_batch, take train.placement=fsdp2 over more machines, or a smaller model"
        )


def _number(values: dict[str, str], option: str, *, default: float) -> float:
    text = values.get(option, str(default))
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0 or (option.endswith("ranks") and number != int(number)):
        raise ConfigError(
            f"{option} is {text!r}; give {'a whole number' if option.endswith('ranks') else 'a number'} above 0"
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
