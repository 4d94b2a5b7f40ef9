"""How many ranks a recipe would be trained by, as its section `launch` and the command line say. Free of torch.

The section is the launcher's, which checks it; here only numbers of ranks are read from it, as they stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.config import resolve
from core.errors import ConfigError
from train.config import Placement, TrainConfig
from train.held import Cluster
from train.starter import working_ranks

LAUNCH = "launch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Ranks that are started in all, and on a node."""

    ranks: int
    node_ranks: int

    def cluster(self, config: TrainConfig) -> Cluster:
        """Those of them that have work, as the trainer seats them."""
        ranks, node_ranks = working_ranks(config, started=self.ranks, local=self.node_ranks)
        return Cluster(ranks=ranks, node_ranks=node_ranks)


def asked(name: str, overrides: Sequence[str], *, ranks: int = 0, node_ranks: int = 0) -> Started:
    """The ranks of a recipe's job or keepers (nodes of ranks_per_node), else of `launch run` (ranks), on one node.

    `ranks` and `node_ranks`, where given, win.
    """
    section = _section(name, overrides)
    nodes, per_node = _count(section, "nodes"), _count(section, "ranks_per_node")
    is_job = nodes * per_node > 1
    started = ranks or (nodes * per_node if is_job else _count(section, "ranks"))
    return Started(ranks=started, node_ranks=min(node_ranks or (per_node if is_job else started), started))


def here(name: str, overrides: Sequence[str]) -> Started | None:
    """The ranks that `launch run` starts on this machine; None if the recipe is for others."""
    section = _section(name, overrides)
    target, starter = (str(section.get(key, "")).lower() for key in ("target", "starter"))
    if target not in ("", "local") or starter == "srun":
        return None
    ranks = _count(section, "ranks")
    return Started(ranks=ranks, node_ranks=ranks)


def with_nodes(config: TrainConfig, node_ranks: int) -> TrainConfig:
    """The same with nodes of so many ranks where the placement knows nodes."""
    return replace(config, node_ranks=node_ranks) if node_ranks and config.placement is Placement.HSDP else config


def told_idle(started: Started, cluster: Cluster) -> str:
    """What there is to say of ranks without work; nothing if all have some."""
    idle = started.ranks - cluster.ranks
    if not idle:
        return ""
    return (
        f"warning: of {started.ranks} ranks the last {idle} would be idle: a step has work for {cluster.ranks} "
        "(train.micro_batches; with placement hsdp, nodes of the same size)\n"
    )


def _section(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    return resolve(name, overrides).get(LAUNCH) or {}


def _count(section: dict[str, Any], key: str) -> int:
    value = section.get(key, 1)
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"launch.{key} is {value!r}; give a whole number of at least 1")
    return value
