"""Section `launch` of a recipe: how processes are started and started again. All of it is placement."""

from dataclasses import dataclass
from enum import Enum

from core.config import placement
from core.errors import ConfigError
from core.faults import OF_A_BOX, read_fault
from launch.address import split
from launch.drills.config import DrillConfig
from launch.preflightconfig import PreflightConfig
from launch.renderers.config import ClusterConfig, Target

OFF, AUTO = "off", "auto"
KEEPER_TIMES = (
    *("watchdog_floor_s", "watchdog_factor", "node_timeout_s", "join_s", "coordinator_timeout_s"),
    *("node_return_s", "quarantine_s"),
)


class Starter(Enum):
    """What starts the ranks (starters.py)."""

    TORCHRUN = "torchrun"
    DEEPSPEED = "deepspeed"
    SRUN = "srun"


@dataclass(kw_only=True, slots=True)
class LaunchConfig:
    """How many ranks train and what starts them, when a failed stage is started again, and the drill."""

    # Group conf/launch/: what `launch render` and `launch submit` write a job for, and that job's nodes.
    target: Target = placement(Target.LOCAL)
    cluster: ClusterConfig = placement(ClusterConfig)
    preflight: PreflightConfig = placement(PreflightConfig)
    ranks: int = placement(1)
    starter: Starter = placement(Starter.TORCHRUN)
    # More of srun's own, such as --nodes=2; for starter srun only.
    srun_options: list[str] = placement(list)
    # What ranks allocate memory with: off, the C library; auto, tcmalloc where it is found; or the path of a library.
    allocator: str = placement("off")
    max_restarts_without_progress: int = placement(3)
    # The first restart comes at once; then these seconds, doubled each time.
    backoff_s: float = placement(1.0)
    # A process that is asked to stop has this long before it is killed.
    stop_grace_s: float = placement(20.0)
    # Ranks that finish no step for this long are taken for hung; the first step has its own limit.
    stall_s: float = placement(600.0)
    start_s: float = placement(1800.0)
    # The drill: this rank is killed with SIGKILL once it has finished this step, once per training artifact.
    kill_rank: int = placement(-1)
    kill_at_step: int = placement(0)
    # Jobs and keepers (`launch supervise`): nodes that train, ranks on each, and nodes that wait in reserve.
    nodes: int = placement(1)
    ranks_per_node: int = placement(1)
    spares: int = placement(0)
    # With fewer nodes nobody trains: a job is queued again, keepers wait for more.
    min_nodes: int = placement(1)
    # Where the coordinator listens for keepers of other machines (`launch join`), as HOST or HOST:PORT; without it the
    # nodes are emulated on this machine.
    address: str = placement("")
    # What starts an emulated node's keeper, with {node} for its name, where it needs a network of its own (drills).
    node_prefix: list[str] = placement(list)
    # A rank is taken for hung when a phase of a step lasts longer than both this and so many times its 99th percentile.
    watchdog_floor_s: float = placement(60.0)
    watchdog_factor: float = placement(10.0)
    # A node is lost when its keeper says nothing for so long; at the start one is waited for so long.
    node_timeout_s: float = placement(3.0)
    join_s: float = placement(120.0)
    # Ranks go on for so long without a coordinator.
    coordinator_timeout_s: float = placement(30.0)
    # An emulated node that was lost comes back after so long; 0 is never.
    node_return_s: float = placement(0.0)
    # Every so many steps ranks hand their state to keepers, and their gradients at each step; 0 is never.
    base_every_steps: int = placement(10)
    # The share of micro-batches that another node computes again; 0 is none.
    audit_rate: float = placement(0.0)
    # How long a node is left alone that has lied, or failed too often.
    quarantine_s: float = placement(86400.0)
    # Failures in a day after which it has; 0 is never.
    lemon_failures: int = placement(3)
    # Faults to inject (core/faults.py).
    faults: list[str] = placement(list)
    # A folder in which a drill lays more of them meanwhile (core/faultbox.py).
    fault_box: str = placement("")
    # The kernel's log on each node, with {node} for its name, in which keepers read of GPUs (launch/sensors.py).
    sensor_log: str = placement("")
    drill: DrillConfig = placement(DrillConfig)

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise ConfigError(f"launch.ranks is {self.ranks}; give at least 1")
        if self.max_restarts_without_progress < 0:
            raise ConfigError(
                f"launch.max_restarts_without_progress is {self.max_restarts_without_progress}; give 0 or more"
            )
        self._check_keepers()
        for name in ("backoff_s", "stop_grace_s", "stall_s", "start_s", *KEEPER_TIMES):
            if getattr(self, name) < 0:
                raise ConfigError(f"launch.{name} is {getattr(self, name)}; give a time of 0 seconds or more")
        if self.kill_at_step < 0:
            raise ConfigError(f"launch.kill_at_step is {self.kill_at_step}; give a step, or 0 for no drill")
        if self.is_drill and not 0 <= self.kill_rank < self.ranks:
            raise ConfigError(
                f"launch.kill_rank {self.kill_rank} is none of the {self.ranks} ranks; "
                "give one that is, or launch.kill_at_step=0 for no drill"
            )

        if self.allocator not in (OFF, AUTO) and not self.allocator.startswith("/"):
            raise ConfigError(
                f"launch.allocator is {self.allocator}; give {OFF}, {AUTO}, or the whole path of a library such as "
                "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"
            )
        if self.srun_options and self.starter is not Starter.SRUN:
            raise ConfigError(
                f"launch.srun_options is {self.srun_options}, but launch.starter is {self.starter.value}; "
                "leave it out, or take starter srun"
            )
        if self.is_drill and self.starter is Starter.SRUN:
            raise ConfigError(
                "the drill kills a process of this machine, and srun's may be elsewhere; "
                "give launch.kill_at_step=0, or another launch.starter"
            )

    def _check_keepers(self) -> None:
        for name, least in (
            ("nodes", 1),
            ("ranks_per_node", 1),
            ("spares", 0),
            ("min_nodes", 1),
            ("base_every_steps", 0),
            ("lemon_failures", 0),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"launch.{name} is {getattr(self, name)}; give at least {least}")
        if self.min_nodes > self.nodes:
            raise ConfigError(f"launch.min_nodes is {self.min_nodes}, more than the {self.nodes} of launch.nodes")
        if not 0 <= self.audit_rate <= 1:
            raise ConfigError(f"launch.audit_rate is {self.audit_rate}; give a share from 0 to 1")
        if self.audit_rate and not self.base_every_steps:
            raise ConfigError("launch.audit_rate needs states to audit from; give launch.base_every_steps")
        if self.address:
            split(self.address)
        for text in self.faults:
            if read_fault(text).kind == OF_A_BOX:
                raise ConfigError(f"launch.faults has {text!r}, which would not end; lay it into launch.fault_box")

    @property
    def is_joined(self) -> bool:
        """Whether keepers come from elsewhere (`launch join`): they may outlive what started the coordinator."""
        return bool(self.address) and not self.node_prefix

    @property
    def is_drill(self) -> bool:
        """Whether a rank is to be killed on purpose."""
        return self.kill_at_step > 0
