"""Section `launch.drill` of a recipe: which faults, how many, how often. All of it is placement."""

from dataclasses import dataclass

from core.config import placement
from core.errors import ConfigError


@dataclass(kw_only=True, slots=True)
class DrillConfig:
    """What `python -m launch drill` draws."""

    seed: int = placement(1)
    # It ends when so many faults have hit something, and not before so many seconds have passed.
    faults: int = placement(30)
    seconds: float = placement(0.0)
    # The mean pause between a recovery and the next fault; pauses are exponentially distributed.
    every_s: float = placement(3.0)
    # Of all faults, the share that comes while the one before is still being recovered from.
    hasty_share: float = placement(0.1)
    # Only these classes (launch/drills/classes.py); none: all.
    classes: list[str] = placement(list)
    # Whether runs that must end, and for the right reason, are among it.
    has_ends: bool = placement(True)
    # A fault that is not found, or not recovered from, in so long, has not been survived.
    patience_s: float = placement(120.0)

    def __post_init__(self) -> None:
        for name in ("faults", "seconds", "every_s", "patience_s"):
            if getattr(self, name) < 0:
                raise ConfigError(f"launch.drill.{name} is {getattr(self, name)}; give 0 or more")
        if not 0 <= self.hasty_share <= 1:
            raise ConfigError(f"launch.drill.hasty_share is {self.hasty_share}; give a share from 0 to 1")
