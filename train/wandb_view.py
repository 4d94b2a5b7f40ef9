"""A Weights & Biases run on disk, beside the journal: a view, never a source. Only imported where asked for."""

from pathlib import Path
from typing import Any

import wandb


class WandbView:
    """An offline run in the witness folder; `wandb sync` sends it, if ever."""

    def __init__(self, witness: Path, *, name: str, facts: dict[str, Any]) -> None:
        self._run = wandb.init(
            mode="offline",
            project="wholegrain",
            name=name,
            dir=witness,
            config=facts,
            settings=wandb.Settings(silent=True, save_code=False, disable_git=True, console="off"),
        )

    def log(self, step: int, *, loss: float, norm: float, lr: float) -> None:
        """Add a step's numbers."""
        self._run.log({"loss": loss, "norm": norm, "lr": lr}, step=step)

    def finish(self) -> None:
        """Write out what is left."""
        self._run.finish()
