"""Verb `node`: one attempt of one node's ranks, under torchrun's agent, which ends as the ranks did.

For schedulers that start a process a node and read its exit code (Kubernetes, SkyPilot), and for plain machines.
torchrun hides what its workers said and may take 30 s to stop the peers of a dead rank; this reads their notes, and
ends them at once. Where a node is lost, the others lose a peer: all end with 75, and all are to be started again.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.arguments import take
from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.config import RunConfig, load
from core.errors import ConfigError, RetryError
from launch.attempts import count, note, state_of
from launch.check import absolute
from launch.config import LaunchConfig
from launch.decide import Action, decide, error_of
from launch.local import POLL_S, started
from launch.starters import ENVIRONMENT

# Where schedulers say a node's number, and Kubeflow where to meet.
NUMBERS = ("PET_NODE_RANK", "JOB_COMPLETION_INDEX", "SKYPILOT_NODE_RANK", "SLURM_NODEID")
MEETING = ("PET_MASTER_ADDR", "PET_MASTER_PORT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node's number among `nodes`, and where all meet."""

    node: int
    nodes: int
    host: str
    port: int


def main(arguments: list[str]) -> None:
    """`RECIPE [--node=N] [--meet=HOST:PORT] [key=value ...]`. Raises the ranks' error."""
    options, rest = take(arguments, values=("--node", "--meet"))
    name, overrides = recipe_and_overrides(rest, "python -m launch node")
    recipe = absolute(name)
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "launch", LaunchConfig, overrides)
    place = place_of(config, options, os.environ)
    state = state_of(recipe, overrides)
    out = run.out_folder.resolve()
    if place.node == 0:
        count(out, state, most=config.max_restarts_without_progress)
    if not state.folder:
        out.mkdir(parents=True, exist_ok=True)
        command = torchrun(config, place, ["train", "run", recipe, *overrides])
        environment = {**ENVIRONMENT, **config.cluster.environment}
        ranks = config.ranks_per_node
        with started(
            command,
            stage=f"train-node{place.node}",
            environment=environment,
            root=ROOT,
            out=out,
            ranks=ranks,
            grace_s=config.stop_grace_s,
        ) as generation:
            while (end := generation.end(start_s=config.start_s, stall_s=config.stall_s)) is None:
                time.sleep(POLL_S)
        if place.node == 0:
            note(out, "attempt.ended")
        decision = decide(end, idle_restarts=0, max_idle_restarts=1, backoff_s=0.0)
        if decision.action is not Action.FINISH:
            raise error_of(decision.exit_code, f"node {place.node} of {place.nodes}: {decision.reason}")
        state = state_of(recipe, overrides)
    if not state.folder:
        raise RetryError(f"the ranks ended well, but the run's artifact is not in {out}; do all nodes see that folder?")
    sys.stdout.write(f"{state.folder}\n")


def place_of(config: LaunchConfig, options: Mapping[str, str], environment: Mapping[str, str]) -> Place:
    """Where this node stands, by options, else by what the scheduler says. Raises ConfigError if neither says it."""
    cluster = config.cluster
    node = options.get("--node") or next((environment[name] for name in NUMBERS if name in environment), "")
    host, _, port = options.get("--meet", ":".join(environment.get(name, "") for name in MEETING)).rpartition(":")
    if config.nodes == 1:
        node, host, port = node or "0", host or "127.0.0.1", port or str(cluster.port)
    if not node.isdecimal() or int(node) >= config.nodes:
        raise ConfigError(f"node number {node!r} is none of 0 to {config.nodes - 1}; give --node=N")
    if not host or not port.isdecimal():
        raise ConfigError(f"the place to meet is {host!r} with port {port!r}; give --meet=HOST:PORT of node 0")
    return Place(node=int(node), nodes=config.nodes, host=host, port=int(port))


def torchrun(config: LaunchConfig, place: Place, arguments: Sequence[str]) -> list[str]:
    """One node's agent: without restarts of its own, and with the meeting place given, not agreed upon."""
    agent = [
        f"--nnodes={place.nodes}",
        f"--node-rank={place.node}",
        f"--nproc-per-node={config.ranks_per_node}",
        f"--master-addr={place.host}",
        f"--master-port={place.port}",
        "--max-restarts=0",
        f"--log-dir={os.devnull}",
    ]
    return [sys.executable, "-m", "torch.distributed.run", *agent, "-m", *arguments]
