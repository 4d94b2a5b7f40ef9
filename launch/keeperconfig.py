"""What keepers and the coordinator of a run need to know, in one file in the run's folder, so that they start fast."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from core.durable import write_durably

PLACE = "place.json"
MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A run under keepers. Times are in seconds; launch/config.py says what the fields are."""

    recipe: str
    overrides: tuple[str, ...]
    folder: Path
    out: Path
    room: Path
    token: str
    host: str
    port: int
    nodes: int
    ranks_per_node: int
    spares: int
    min_nodes: int
    watchdog_floor_s: float
    watchdog_factor: float
    start_s: float
    join_s: float
    node_timeout_s: float
    coordinator_timeout_s: float
    base_every_steps: int
    audit_rate: float
    micro_batches: int
    quarantine_s: float
    lemon_failures: int
    max_restarts_without_progress: int
    backoff_s: float
    stop_grace_s: float
    faults: tuple[str, ...]
    fault_box: str = ""
    sensor_log: str = ""

    @property
    def made_of(self) -> tuple[str, ...]:
        """Recipe and overrides, as far as ranks heed them: what a keeper must have been started for."""
        return (self.recipe, *(text for text in self.overrides if not text.startswith("launch.")))

    @property
    def coordinator_file(self) -> Path:
        """Where the coordinator says how it can be reached."""
        return self.folder / "coordinator.json"

    def write(self) -> Path:
        """Write it down; returns where."""
        path = self.folder / PLACE
        values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        write_durably(path, json.dumps(values).encode(), is_private=True)
        return path

    @classmethod
    def read(cls, path: Path) -> "Place":
        """What `write` wrote."""
        values = json.loads(path.read_text())
        for name in ("overrides", "faults"):
            values[name] = tuple(values[name])
        for name in ("folder", "out", "room"):
            values[name] = Path(values[name])
        return cls(**values)


def memory_folder() -> Path:
    """A folder in memory where there is one."""
    return MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())
