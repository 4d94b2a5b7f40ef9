"""Verb plan: what a recipe costs before anything is started: parameters, operations, memory, communication.

Free of torch. Exit code 64 if the ranks of a node cannot fit into its memory, or a rank into its GPU's.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from math import inf
from typing import Any

from core.arguments import take
from core.cli import recipe_and_overrides
from core.errors import ConfigError
from core.profile import Device, ProfileConfig
from train.config import Objective
from train.fit import GPU, NODE, check_fit, rooms_here
from train.held import Cluster
from train.machine import Room
from train.memory import LEAST_PROCESS_BYTES, Memory, activation_bytes, process_bytes, sides
from train.recipe import Recipe, heldout_tokens, read_recipe, window_tokens
from train.seats import asked, here, told_idle, with_nodes
from train.traffic import sent

USAGE = "python -m train plan"
JSON = "--json"
OPTIONS = ("--ranks", "--node-ranks", "--memory-gb", "--node-gb")
GB = 1_000_000_000
# Tables of bytes, in the order in which they are shown.
TABLES = ("bytes_per_gpu", "bytes_per_rank")


def main(arguments: Sequence[str]) -> None:
    """`RECIPE [--ranks N] [--node-ranks K] [--memory-gb G] [--node-gb G] [--json] [key=value ...]`.

    Raises ConfigError, behind the table, if it cannot fit.
    """
    values, rest = take(arguments, values=OPTIONS, flags=[JSON])
    name, overrides = recipe_and_overrides(rest, USAGE)
    recipe = read_recipe(name, overrides)
    ranks, node_ranks = (int(_number(values, option)) for option in ("--ranks", "--node-ranks"))
    started = asked(name, overrides, ranks=ranks, node_ranks=node_ranks or (ranks and recipe.train.node_ranks))
    recipe = replace(recipe, train=with_nodes(recipe.train, node_ranks))
    cluster = started.cluster(recipe.train)
    planned = plan(
        recipe,
        cluster=cluster,
        sharing_ranks=min(started.node_ranks, cluster.ranks),
        seq_len=window_tokens(name, overrides, recipe=recipe),
        evaluated_tokens=heldout_tokens(name, overrides, recipe=recipe),
    )
    planned["idle_ranks"] = started.ranks - cluster.ranks
    rooms = _rooms(values, recipe.profile)
    sys.stdout.write(json.dumps(planned) + "\n" if JSON in values else _as_lines(planned | _compared(rooms)))
    sys.stdout.flush()
    sys.stderr.write(told_idle(started, cluster) + _told_missing(recipe.profile, rooms))
    sys.stderr.write(check_fit(planned, rooms))


def check_here(name: str, overrides: Sequence[str], *, recipe: Recipe) -> str:
    """Hold the ranks that `launch run` would start on this machine against it; returns warnings, a line each.

    Raises ConfigError if they cannot fit; says nothing if they are started elsewhere.
    """
    started = here(name, overrides)
    if started is None:
        return ""
    cluster = started.cluster(recipe.train)
    seq_len = window_tokens(name, overrides, recipe=recipe)
    planned = plan(recipe, cluster=cluster, sharing_ranks=cluster.ranks, seq_len=seq_len)
    return check_fit(planned, rooms_here(recipe.profile))


def plan(
    recipe: Recipe, *, cluster: Cluster, seq_len: int, evaluated_tokens: int = 0, sharing_ranks: int = 0
) -> dict[str, Any]:
    """All numbers by name; bytes are of the busiest rank, and `bytes_of_node` has the processes in it.

    A node's memory is shared by `sharing_ranks`, or by those of the cluster's nodes if it is 0.

    An evaluation, of `evaluated_tokens` at most, is a forward, a third of a step's operations, and holds less than one.
    So is the pass for the reference of preferences, whose micro-batches have two rows a pair; it takes each pair once,
    at most as many as the steps take, and a whole model before the run's own is laid out.
    """
    is_paired = recipe.train.objective is Objective.PREFERENCE
    if is_paired:
        recipe = replace(recipe, train=replace(recipe.train, micro_batch=2 * recipe.train.micro_batch))
    model, train = recipe.model, recipe.train
    held, traffic = sides(recipe, cluster=cluster, seq_len=seq_len), sent(recipe, cluster=cluster)
    sharing, process = sharing_ranks or cluster.node_ranks, process_bytes(recipe.profile)
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
        **({"bytes_per_gpu": _parts(held.gpu)} if held.gpu else {}),
        "bytes_per_rank": _parts(held.host) | {"process": process},
        "activation_bytes_recomputed": activation_bytes(recipe, seq_len=seq_len, is_recomputed=True),
        "sent_bytes_per_step": traffic.total,
        "sent_bytes_inside_node": traffic.inside,
        "sharing_ranks": sharing,
        "bytes_of_node": sharing * (held.host.total + process),
        "least_bytes_of_node": sharing * held.host.least + LEAST_PROCESS_BYTES,
        **({"bytes_of_gpu": held.gpu.total, "least_bytes_of_gpu": held.gpu.least} if held.gpu else {}),
    }


def _parts(held: Memory) -> dict[str, int]:
    return {**{part.name: getattr(held, part.name) for part in fields(held)}, "total": held.total}


def _rooms(values: dict[str, str], profile: ProfileConfig) -> dict[str, Room]:
    """What the command line says, or else this machine has: a memory that is given is free, and this one not asked."""
    given = {option: int(_number(values, option) * GB) for option in ("--memory-gb", "--node-gb") if option in values}
    rooms = {option: Room(whole=count, free=count) for option, count in given.items()}
    is_cuda = profile.device is Device.CUDA
    if "--node-gb" in rooms and not is_cuda:
        raise ConfigError(
            "--node-gb is for profiles with GPUs, whose memory is --memory-gb; here give --memory-gb alone"
        )
    if not rooms:
        return rooms_here(profile)
    names = {"--memory-gb": GPU if is_cuda else NODE, "--node-gb": NODE}
    return {names[option]: room for option, room in rooms.items()}


def _compared(rooms: dict[str, Room]) -> dict[str, str]:
    names = {NODE: "a node", GPU: "a GPU"}
    told = ", ".join(f"{names[kind]} of {room.whole / GB:.2f} GB" for kind, room in rooms.items())
    return {"compared_with": told or "nothing"}


def _told_missing(profile: ProfileConfig, rooms: dict[str, Room]) -> str:
    missing = [] if NODE in rooms else ["a node's (--node-gb)"]
    missing += ["a GPU's (--memory-gb)"] if profile.device is Device.CUDA and GPU not in rooms else []
    return f"warning: not held against the memory that is unknown here: {', '.join(missing)}\n" if missing else ""


def _number(values: dict[str, str], option: str) -> float:
    """An option's number; 0 if it is not given."""
    if option not in values:
        return 0.0
    is_count = option.endswith("ranks")
    try:
        number = float(values[option])
    except ValueError:
        number = 0.0
    if not 0 < number < inf or (is_count and number != int(number)):
        kind = "a whole number" if is_count else "a number"
        raise ConfigError(f"{option} is {values[option]!r}; give {kind} above 0")
    return number


def _as_lines(planned: dict[str, Any]) -> str:
    rows: list[tuple[str, int | str]] = [(name, value) for name, value in planned.items() if name not in TABLES]
    for table in TABLES:
        rows += (
            [(table, ""), *((f"  {name}", value) for name, value in planned[table].items())] if table in planned else []
        )
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {_told(value)}".rstrip() + "\n" for name, value in rows)


def _told(value: int | str) -> str:
    return f"{value:>20,}" if isinstance(value, int) else f"{value:>20}"
