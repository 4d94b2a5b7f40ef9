"""The energy that a machine's counters tell: RAPL of the CPU packages by sysfs, NVML of the GPUs.

Sources: Linux, Documentation/power/powercap/powercap.rst; NVML, nvmlDeviceGetTotalEnergyConsumption (Volta and later,
in millijoules; not exercised here). Counters are of the whole package or board, whatever else runs there. Most systems
let only root read RAPL, and virtual machines have none: then there is no meter, and nobody should guess one.
"""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
MICROJOULES = 1e-6
MILLIJOULES = 1e-3


@dataclass(slots=True)
class Counter:
    """A package's counter, which begins anew beyond `range_uj`."""

    path: Path
    range_uj: int
    last_uj: int
    joules: float = 0.0

    def advance(self) -> None:
        """Add what was used since the last reading."""
        now = int(self.path.read_text(encoding="ascii"))
        used = now - self.last_uj if now >= self.last_uj else now + self.range_uj - self.last_uj
        self.joules, self.last_uj = self.joules + used * MICROJOULES, now


@dataclass(slots=True)
class Meter:
    """Joules since it was opened."""

    counters: list[Counter] = field(default_factory=list)
    boards: list[Any] = field(default_factory=list)
    began_j: float = 0.0

    def joules(self) -> float:
        """What all packages and boards used since the meter was opened; ask more often than a counter wraps."""
        for counter in self.counters:
            counter.advance()
        return sum(counter.joules for counter in self.counters) + _board_joules(self.boards) - self.began_j


def open_meter(*, is_gpu: bool = False, powercap: Path = POWERCAP) -> Meter | None:
    """A meter of this machine, or None if no counter can be read."""
    counters = [counter for folder in sorted(powercap.glob("intel-rapl:*")) if (counter := _open(folder))]
    boards = _boards() if is_gpu else []
    return Meter(counters, boards, _board_joules(boards)) if counters or boards else None


def _open(folder: Path) -> Counter | None:
    """The counter of a package; None of a part of one (`intel-rapl:0:1`), which the package counts already."""
    if folder.name.count(":") != 1:
        return None
    try:
        path = folder / "energy_uj"
        range_uj = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
        return Counter(path, range_uj, int(path.read_text(encoding="ascii")))
    except (OSError, ValueError):
        # Not readable by this user, or not there: no counter.
        return None


def _boards() -> list[Any]:
    try:
        pynvml = import_module("pynvml")
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        found = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        _board_joules(found)
    except pynvml.NVMLError:
        return []
    return found


def _board_joules(boards: list[Any]) -> float:
    if not boards:
        return 0.0
    pynvml = import_module("pynvml")
    return float(sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(board) for board in boards)) * MILLIJOULES
