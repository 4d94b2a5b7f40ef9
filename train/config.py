"""Section `train`: how many steps of what shape, the optimizer's numbers, and where the work is done. Free of torch."""

from dataclasses import dataclass
from enum import Enum

from core.config import placement
from core.errors import ConfigError


class Sum(Enum):
    """In which order the gradients of a step's micro-batches are added."""

    CANONICAL = "canonical"
    """One binary tree over the index: the same bits at any placement."""
    FAST = "fast"
    """As they come, then the backend's all-reduce: repeatable at one placement only."""


class Placement(Enum):
    """How weights, gradients and optimizer state lie on the ranks."""

    ZERO1 = "zero1"
    """Every rank holds all weights and a slice of the optimizer state."""
    FSDP2 = "fsdp2"
    """Every rank holds a shard of everything; weights are gathered block by block."""


class WandbMode(Enum):
    """Whether a Weights & Biases run is written beside the journal."""

    OFF = "off"
    OFFLINE = "offline"


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """A step has `micro_batches` micro-batches of `micro_batch` windows each, however many ranks there are."""

    seed: int
    steps: int
    micro_batches: int
    micro_batch: int
    lr: float
    min_lr: float
    warmup_steps: int
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    clip_norm: float
    save_every_steps: int
    # Of the checkpoints, the artifact keeps those of steps that are multiples of this, and the last.
    keep_every_steps: int = 1
    grad_digest_every_steps: int = 1
    sum: Sum = Sum.CANONICAL
    wandb: WandbMode = placement(WandbMode.OFF)
    timeout_s: float = placement(120.0)
    lock_wait_s: float = placement(10.0)
    # Last, since from here on the name is the field's.
    placement: Placement = placement(Placement.ZERO1)

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "micro_batches",
            "micro_batch",
            "save_every_steps",
            "keep_every_steps",
            "grad_digest_every_steps",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("lr", "eps", "clip_norm", "timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be above 0")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be at least 0 and below 1")
        if not 0 <= self.min_lr <= self.lr:
            raise ConfigError(f"train.min_lr is {self.min_lr}; it must lie between 0 and train.lr {self.lr}")
        if not 0 <= self.warmup_steps < self.steps:
            raise ConfigError(
                f"train.warmup_steps is {self.warmup_steps}; it must be at least 0 and below train.steps {self.steps}"
            )
        if not self.weight_decay >= 0:
            raise ConfigError(f"train.weight_decay is {self.weight_decay}; it must be at least 0")

    def is_saved(self, step: int) -> bool:
        """Whether a step ends with a checkpoint, and its ledger line with a state root."""
        return step % self.save_every_steps == 0 or step == self.steps

    def is_kept(self, step: int) -> bool:
        """Whether the artifact keeps the checkpoint of a step."""
        return self.is_saved(step) and (step % self.keep_every_steps == 0 or step == self.steps)

    def is_digested(self, step: int) -> bool:
        """Whether a step's ledger line holds the root over its micro-batch gradients."""
        return self.sum is Sum.CANONICAL and step % self.grad_digest_every_steps == 0
