"""Who this process is among those that were started together, as their starter says it in the environment.

    none                 one process
    torchrun, deepspeed  RANK, WORLD_SIZE, LOCAL_RANK, and LOCAL_WORLD_SIZE (deepspeed: LOCAL_SIZE)
    srun                 SLURM_PROCID, SLURM_STEP_NUM_TASKS, ...: put into the names above, for torch and DeepSpeed

Free of torch.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import ConfigError
from train.config import Placement, TrainConfig

HERE = "127.0.0.1"
# Below those that Linux gives to clients. Two steps of jobs on one node meet at different ports unless 10,000 apart.
FIRST_PORT, PORTS = 20_000, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A process's rank, how many ranks work and how many were started, and how many of those at work share a node.

    A rank with nothing to do `is_idle`: the ranks at work are the first ones.
    """

    rank: int
    world_size: int
    started: int
    node_ranks: int

    @property
    def is_idle(self) -> bool:
        """Whether there is no work for this rank."""
        return self.rank >= self.world_size


def take_seat(config: TrainConfig) -> Seat:
    """The seat of this process; what srun says is put into the environment in torchrun's words.

    Raises ConfigError if the environment says only half of it.
    """
    os.environ.update(torchrun_words(os.environ))
    rank, started = _number("RANK", 0), _number("WORLD_SIZE", 1)
    local = _number("LOCAL_WORLD_SIZE", _number("LOCAL_SIZE", started))
    world_size, node_ranks = working_ranks(config, started=started, local=local)
    # DeepSpeed asks for it even where there is one process only.
    os.environ.setdefault("LOCAL_RANK", str(rank % local))
    return Seat(rank=rank, world_size=world_size, started=started, node_ranks=node_ranks)


def working_ranks(config: TrainConfig, *, started: int, local: int) -> tuple[int, int]:
    """How many ranks work, and how many of them share a node.

    No more than a step has micro-batches; with hsdp as many as make nodes of the same size.
    """
    most = min(started, config.micro_batches)
    if config.placement is not Placement.HSDP:
        return most, min(local, most)
    node_ranks = min(config.node_ranks or local, most)
    return most // node_ranks * node_ranks, node_ranks


def torchrun_words(environment: Mapping[str, str]) -> dict[str, str]:
    """What srun says of a task of a job step, in torchrun's words; empty if srun has not started this process.

    A batch script is itself no task that srun has started, whatever SLURM_PROCID and SLURM_NTASKS stand there.
    """
    if "RANK" in environment or "SLURM_STEP_NUM_TASKS" not in environment:
        return {}
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", "1"))
    first = HERE if nodes == 1 else first_host(environment["SLURM_STEP_NODELIST"])
    step = int(environment["SLURM_JOB_ID"]) * 16 + int(environment["SLURM_STEP_ID"])
    meeting = {"MASTER_ADDR": first, "MASTER_PORT": str(FIRST_PORT + step % PORTS)}
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(tasks_per_node(environment["SLURM_STEP_TASKS_PER_NODE"])),
        **{name: environment.get(name, value) for name, value in meeting.items()},
    }


def first_host(nodes: str) -> str:
    """The first of Slurm's list of hosts, such as `gpu[007-009,012],login`."""
    matched = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,\[]*))?", nodes)
    if not matched:
        raise ConfigError(
            f"SLURM_STEP_NODELIST is {nodes!r}, no list of hosts; set MASTER_ADDR to the first task's host"
        )
    return "".join(part for part in matched.groups() if part)


def tasks_per_node(tasks: str) -> int:
    """How many tasks the first node has, of Slurm's list such as `8(x3),4`."""
    return int(re.split(r"[(,]", tasks)[0])


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise ConfigError(f"{name} is {value!r} in the environment, no number; start with torchrun, deepspeed or srun")
    return int(value)
