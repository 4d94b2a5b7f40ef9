"""Section `launch.preflight` of a recipe: what a node must have before it trains. All of it is placement."""

from dataclasses import dataclass, fields

from core.config import placement
from core.errors import ConfigError


@dataclass(kw_only=True, slots=True)
class PreflightConfig:
    """Floors and ceilings; a node that misses one is named. The clock is compared with the first node's."""

    min_memory_gb: float = placement(1.0)
    min_shm_gb: float = placement(0.05)
    min_disk_gb: float = placement(1.0)
    min_disk_mb_per_s: float = placement(5.0)
    max_fsync_ms: float = placement(500.0)
    min_files: int = placement(1024)
    min_processes: int = placement(256)
    max_clock_ms: float = placement(1000.0)
    min_network_mb_per_s: float = placement(5.0)
    # What is written to the disk, and sent between two nodes and back.
    disk_mb: int = placement(16)
    network_mb: int = placement(8)
    # Products of matrices that each rank makes, all of which must give the same bits.
    burn_rounds: int = placement(20)
    timeout_s: float = placement(300.0)
    # A committed step's gradients are computed again, by one process, and held against the run's ledger.
    is_passport_asked: bool = placement(False)

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.type is not bool):
            if getattr(self, name) <= 0:
                raise ConfigError(f"launch.preflight.{name} is {getattr(self, name)}; give more than 0")
