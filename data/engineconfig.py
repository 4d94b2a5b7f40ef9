"""Section `data` of a recipe: who does the work of stages clean and pack. All of it is placement but `keep_dropped`."""

from dataclasses import dataclass
from enum import Enum

from core.config import placement
from core.errors import ConfigError


class Executor(Enum):
    """What runs the tasks: processes of this machine, an array job, or a Ray cluster."""

    LOCAL = "local"
    SLURM = "slurm"
    RAY = "ray"


@dataclass(kw_only=True, slots=True)
class SlurmConfig:
    """How tasks are asked of Slurm; what is empty is left to the cluster's defaults.

    time           limit of a job in Slurm's form, as 12:00:00
    setup          a shell command before the work, as `module load ...`
    tasks_per_job  tasks that one job of the array does in turn
    max_array      the largest array that the cluster takes; more tasks are further arrays
    poll_s         seconds between looks at the queue
    settle_s       how long a result may take to be seen from here, or a job to be requeued, after its job has ended
    """

    partition: str = placement("")
    time: str = placement("24:00:00")
    account: str = placement("")
    qos: str = placement("")
    cpus_per_task: int = placement(1)
    mem_per_cpu_gb: int = placement(2)
    setup: str = placement("")
    tasks_per_job: int = placement(1)
    max_array: int = placement(1001)
    poll_s: float = placement(2.0)
    settle_s: float = placement(30.0)

    def __post_init__(self) -> None:
        for name in ("cpus_per_task", "mem_per_cpu_gb", "tasks_per_job", "max_array"):
            if getattr(self, name) < 1:
                raise ConfigError(f"data.slurm.{name} is {getattr(self, name)}; give at least 1")
        if not self.poll_s > 0 or not self.settle_s >= 0:
            raise ConfigError(
                f"data.slurm has poll_s {self.poll_s}, settle_s {self.settle_s}; give seconds above 0, and 0 or more"
            )


@dataclass(kw_only=True, slots=True)
class RayConfig:
    """Which Ray does the work: `address` names a cluster (`auto`: the one found); empty starts one for this process."""

    address: str = placement("")
    cpus_per_task: int = placement(1)
    memory_per_task_gb: float = placement(0.0)

    def __post_init__(self) -> None:
        if self.cpus_per_task < 1:
            raise ConfigError(f"data.ray.cpus_per_task is {self.cpus_per_task}; give at least 1")
        if self.memory_per_task_gb < 0:
            raise ConfigError(f"data.ray.memory_per_task_gb is {self.memory_per_task_gb}; give 0 (no claim) or more")


@dataclass(kw_only=True, slots=True)
class EngineConfig:
    """Section `data`: the executor, how many tasks it runs at a time, and whether dropped documents are kept."""

    executor: Executor = placement(Executor.LOCAL)
    workers: int = placement(1)
    slurm: SlurmConfig = placement(SlurmConfig)
    ray: RayConfig = placement(RayConfig)
    keep_dropped: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"data.workers is {self.workers}; give at least 1")
