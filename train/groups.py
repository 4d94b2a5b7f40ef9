"""Which rule updates a parameter: a pure function of its name and shape, the same on every rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.config import ModelConfig
from train.config import Optimizer, TrainConfig

BLOCKS = "blocks."
# What each optimizer keeps of a parameter, by the names that checkpoints have.
MOMENTS = {Optimizer.ADAMW: ("exp_avg", "exp_avg_sq"), Optimizer.MUON: ("momentum",)}
MOMENT_PREFIXES = tuple(f"{moment}." for moments in MOMENTS.values() for moment in moments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """How a parameter is updated: by which optimizer, at how many times the schedule's rate, with decay or not."""

    optimizer: Optimizer
    rate_factor: float
    is_decayed: bool

    @property
    def moments(self) -> tuple[str, ...]:
        """What the optimizer keeps of it."""
        return MOMENTS[self.optimizer]


def groups_of(shapes: Mapping[str, Sequence[int]], *, train: TrainConfig, model: ModelConfig) -> dict[str, Group]:
    """The group of every parameter by name."""
    return {name: _group(name, shape, train=train, model=model) for name, shape in shapes.items()}


def _group(name: str, shape: Sequence[int], *, train: TrainConfig, model: ModelConfig) -> Group:
    """Norms are not decayed; Muon takes the matrices of blocks, whose rate AdamW lowers as the model gets wider.

    The rate of AdamW's inner matrices goes with 1 / width (Yang et al. 2022, arXiv:2203.03466, table 8). Muon's update
    has the same size at every width and needs no such factor.
    """
    is_inner = name.startswith(BLOCKS) and len(shape) > 1
    if is_inner and train.optimizer is Optimizer.MUON:
        return Group(optimizer=Optimizer.MUON, rate_factor=train.muon.lr_factor, is_decayed=True)
    return Group(
        optimizer=Optimizer.ADAMW,
        rate_factor=1 / model.width_factor if is_inner else 1.0,
        is_decayed=is_inner or (len(shape) > 1 and train.is_embedding_decayed),
    )
