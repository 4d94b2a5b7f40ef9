"""A run that goes on from another run's checkpoint, `train.start`, with its weights, moments, step and spike state.

The steps go on at the parent's step + 1 in the same data order, so to decay a constant run from step s on gives the
bits of the whole run with that decay. The first line of the ledger names the parent's step, ledger head and state root,
and of which files it was made if it was imported (imported.py).
"""

from pathlib import Path
from typing import Any

from safetensors import safe_open

from core.errors import ConfigError
from train.groups import groups_of
from train.recipe import Recipe
from train.store import MODEL, OPTIMIZER, Checkpoint


def check_parent(parent: Checkpoint, recipe: Recipe) -> dict[str, Any]:
    """What the ledger's first line says of a verified parent.

    Raises ConfigError if it is another state than the recipe names, or if model or optimizer are not the recipe's.
    """
    position, wanted = parent.position, recipe.train.start.state_root
    if position.state_root != wanted:
        raise ConfigError(
            f"{parent.folder} has state root {position.state_root}, train.start.state_root is {wanted}; name the other "
            "checkpoint, or this root"
        )
    if position.step >= recipe.train.steps:
        raise ConfigError(f"{parent.folder} is of step {position.step}; train.steps {recipe.train.steps} must be more")
    shapes = _shapes(parent.folder / MODEL)
    groups = groups_of(shapes, train=recipe.train, model=recipe.model)
    moments = {f"{moment}.{name}" for name, group in groups.items() for moment in group.moments}
    if moments != _shapes(parent.folder / OPTIMIZER).keys():
        raise ConfigError(
            f"{parent.folder} was made with another optimizer than {recipe.train.optimizer.value}: it keeps other "
            "moments; set train.optimizer as the parent had it"
        )
    named = {"step": position.step, "ledger_head": position.ledger_head, "state_root": position.state_root}
    return {**named, "imported": parent.imported} if parent.imported else named


def _shapes(path: Path) -> dict[str, list[int]]:
    with safe_open(path, framework="numpy") as tensors:
        return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118 (no mapping)
