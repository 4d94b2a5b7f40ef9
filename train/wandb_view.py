"""A Weights & Biases run on disk, beside the journal: a view, never a source. Only imported where asked for."""

from pathlib import Path
from typing import Any

import wandb

from train.heldout import Scores
from train.step import Numbers


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

    def log(self, step: int, *, numbers: Numbers, scores: Scores | None) -> None:
        """Add a step's numbers, and its scores on held-out text if it has any."""
        told = {"loss": numbers.loss, "norm": numbers.norm, "lr": numbers.lr}
        self._run.log(told | scores_by_name(scores), step=step)

    def finish(self) -> None:
        """Write out what is left."""
        self._run.finish()


def scores_by_name(scores: Scores | None) -> dict[str, float]:
    """The scores as a view shows them: `heldout/loss`, `heldout/SOURCE/loss`, and bits a byte likewise."""
    if scores is None:
        return {}
    named = {"heldout": scores.total} | {f"heldout/{name}": score for name, score in scores.sources.items()}
    return {
        f"{name}/{what}": value
        for name, score in named.items()
        for what, value in (("loss", score.loss), ("bits_per_byte", score.bits_per_byte))
    }
