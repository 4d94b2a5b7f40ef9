"""Section `train` for tests that need one in memory."""

from typing import Any

from train.config import TrainConfig


def train_config(**changes: Any) -> TrainConfig:
    """A short run of AdamW, with whatever is to be different."""
    plain: dict[str, Any] = {
        "seed": 1,
        "steps": 12,
        "micro_batches": 8,
        "micro_batch": 2,
        "lr": 3e-3,
        "min_lr": 3e-4,
        "warmup_steps": 3,
        "beta1": 0.9,
        "beta2": 0.95,
        "eps": 1e-8,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
        "save_every_steps": 4,
    }
    return TrainConfig(**{**plain, **changes})
