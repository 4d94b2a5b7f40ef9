"""Section `launch.cluster` of a recipe: what a job's scheduler is told. All of it is placement."""

import re
from dataclasses import dataclass
from enum import Enum

from core.config import placement
from core.errors import ConfigError


class Target(Enum):
    """Who starts the training: this machine, or a scheduler, for which `launch render` writes the job."""

    LOCAL = "local"
    TORCHRUN = "torchrun"
    DEEPSPEED = "deepspeed"
    SLURM = "slurm"
    K8S_JOBSET = "k8s_jobset"
    K8S_TRAINJOB = "k8s_trainjob"
    SKYPILOT = "skypilot"


@dataclass(kw_only=True, slots=True)
class SlurmJob:
    """What sbatch is told. An empty text, or 0, leaves the cluster's default."""

    partition: str = placement("")
    account: str = placement("")
    qos: str = placement("")
    time: str = placement("")
    cpus_per_rank: int = placement(0)
    gpus_per_node: int = placement(0)
    # The job is told to stop this long before its time is over; Slurm may be up to 60 s early.
    warn_s: int = placement(180)
    # A node that does not start a process for this long is left out.
    probe_s: int = placement(20)
    # When the node of the job's script has been silent for so long, another one has the job queued again.
    headless_s: int = placement(120)
    # More lines of #SBATCH, such as --reservation=night.
    options: list[str] = placement(list)


@dataclass(kw_only=True, slots=True)
class KubernetesJob:
    """What a pod is: one pod a node."""

    namespace: str = placement("default")
    image: str = placement("")
    cpus: str = placement("")
    memory: str = placement("")
    gpus: int = placement(0)
    # A claim that all pods may write; it is mounted at `mount`, and run.out must lie there.
    claim: str = placement("")
    mount: str = placement("/shared")
    shm: str = placement("16Gi")
    # JobSet and its jobs count every restart; those without progress are counted by `launch`.
    max_restarts: int = placement(1000)
    grace_s: int = placement(120)


@dataclass(kw_only=True, slots=True)
class SkyPilotJob:
    """What SkyPilot is told. An empty text leaves its default."""

    infra: str = placement("")
    accelerators: str = placement("")
    use_spot: bool = placement(True)
    image: str = placement("")
    # A volume that all nodes mount at `mount` and may write (a bucket will not do: ranks write parts of one file);
    # run.out must lie there.
    volume: str = placement("")
    mount: str = placement("/shared")
    setup: str = placement("")
    # Restarts after any failure, those that would fail again included; 75 and 143 are always followed by one.
    max_restarts: int = placement(0)


@dataclass(kw_only=True, slots=True)
class ClusterConfig:
    """What a job's scheduler is told, and how the code is found on its nodes."""

    # The checkout and the Python on every node.
    workdir: str = placement(".")
    python: str = placement("python3")
    # Where there is no scheduler (torchrun, deepspeed): the nodes, the first of which the others meet at.
    hosts: list[str] = placement(list)
    port: int = placement(29500)
    # Set on every node, such as NCCL_SOCKET_IFNAME.
    environment: dict[str, str] = placement(dict)
    slurm: SlurmJob = placement(SlurmJob)
    kubernetes: KubernetesJob = placement(KubernetesJob)
    skypilot: SkyPilotJob = placement(SkyPilotJob)

    def __post_init__(self) -> None:
        if self.port < 1:
            raise ConfigError(f"launch.cluster.port is {self.port}; give at least 1")
        strange = [name for name in self.environment if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)]
        if strange:
            raise ConfigError(f"launch.cluster.environment names {strange[0]!r}, no name of a variable")
        broken = [line for line in self.slurm.options if not re.fullmatch(r"--[a-z][^\n]*", line)]
        if broken:
            raise ConfigError(f"launch.cluster.slurm.options has {broken[0]!r}; give sbatch's long form, as --nice=10")
