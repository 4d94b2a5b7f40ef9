"""Section `pack` of a recipe."""

from dataclasses import dataclass

from core.config import placement
from core.errors import ConfigError
from data.mixture import Phase, check_phases


@dataclass(kw_only=True, slots=True)
class PackConfig:
    """Section `pack`: weights are integers; a source without one is left out. A window is seq_len + 1 tokens."""

    seed: int
    seq_len: int
    weights: dict[str, int]
    shard_tokens: int = 1 << 26
    workers: int = placement(1)

    def __post_init__(self) -> None:
        for name in ("seq_len", "shard_tokens", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"pack.{name} is {getattr(self, name)}; give at least 1")
        if not self.weights or min(self.weights.values()) < 1:
            raise ConfigError(f"pack.weights is {self.weights}; give sources with integers of 1 or more")
        check_phases([Phase(start=0, weights=tuple(self.weights.values()))])
