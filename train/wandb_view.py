"""A Weights & Biases run on disk, beside the journal: a view, never a source. Imports wandb when asked."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from train.heldout import Scores
    from train.step import Numbers

Mode = Literal["offline", "online"]
PROJECT = "wholegrain"


class WandbView:
    """An offline run in the witness folder; `wandb sync` sends it, if ever."""

    def __init__(self, witness: Path, *, name: str, facts: dict[str, Any]) -> None:
        self._run = open_run(witness, mode="offline", name=name, facts=facts)

    def log(self, step: int, *, numbers: "Numbers", scores: "Scores | None") -> None:
        """Add a step's numbers, and its scores on held-out text if it has any."""
        self._run.log(told(numbers, scores), step=step)

    def finish(self) -> None:
        """Write out what is left."""
        self._run.finish()


def open_run(witness: Path, *, mode: Mode, name: str, facts: dict[str, Any]) -> Any:
    """wandb's own run, offline or online; online it waits for the hub and raises wandb's errors."""
    import wandb

    settings = wandb.Settings(silent=True, save_code=False, disable_git=True, console="off")
    return wandb.init(mode=mode, project=PROJECT, name=name, dir=witness, config=facts, settings=settings)


def told(numbers: "Numbers", scores: "Scores | None") -> dict[str, float]:
    """A step's numbers as a view shows them."""
    return {"loss": numbers.loss, "norm": numbers.norm, "lr": numbers.lr} | scores_by_name(scores)


def scores_by_name(scores: "Scores | None") -> dict[str, float]:
    """The scores as a view shows them: `heldout/loss`, `heldout/SOURCE/loss`, and bits a byte likewise."""
    if scores is None:
        return {}
    named = {"heldout": scores.total} | {f"heldout/{name}": score for name, score in scores.sources.items()}
    return {
        f"{name}/{what}": value
        for name, score in named.items()
        for what, value in (("loss", score.loss), ("bits_per_byte", score.bits_per_byte))
    }
