"""A run that begins with what another run made, `train.start`.

It goes on from a checkpoint with weights, moments, step and spike state: the steps go on at the parent's step + 1 in
the same data order, so to decay a constant run from step s on gives the bits of the whole run with that decay. Or it
takes the weights alone (`takes: weights`): it begins at step 0, with moments of zero and its own schedule and data.

The first line of the ledger names the parent's step, ledger head and state root, and of which files it was made if it
was imported (imported.py); or the SHA-256 of the weights that were taken, with these if a checkpoint was named.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from core.artifact import current
from core.errors import ConfigError, DataError
from core.hashing import hash_file
from core.ledger import WEIGHTS
from train.checkpoint import fill_weights
from train.config import Takes
from train.groups import groups_of
from train.imported import open_weights
from train.recipe import Recipe
from train.store import MANIFEST, MODEL, OPTIMIZER, Checkpoint, open_checkpoint

# Where a bundle has its published weights, and what tells a bundle.
PUBLISHED, BUNDLE = "weights/final", "MANIFEST.jsonl"


def parent_line(recipe: Recipe) -> dict[str, Any] | None:
    """What the ledger's first line says of the parent, if there is one. Raises as check_parent and find_weights do."""
    start = recipe.train.start
    if not start.is_given:
        return None
    if start.takes is Takes.ALL:
        return check_parent(open_checkpoint(start.checkpoint), recipe)
    path, checkpoint = find_weights(recipe)
    named = _named(checkpoint) if checkpoint and start.state_root else {}
    return {"takes": WEIGHTS, "weights_sha256": hash_file(path), **named}


def check_parent(parent: Checkpoint, recipe: Recipe) -> dict[str, Any]:
    """What the ledger's first line says of a verified parent that the run goes on from.

    Raises ConfigError if it is another state than the recipe names, or if model or optimizer are not the recipe's.
    """
    position = parent.position
    _check_root(parent, recipe)
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
    return _named(parent)


def find_weights(recipe: Recipe) -> tuple[Path, Checkpoint | None]:
    """The file of the weights that are taken, and the checkpoint if it is of one.

    Raises ConfigError if they are not those that the recipe names, DataError if they are damaged or missing.
    """
    start = recipe.train.start
    folder = start_folder(start.checkpoint)
    if (folder / MANIFEST).exists():
        checkpoint = open_checkpoint(folder)
        if start.state_root:
            _check_root(checkpoint, recipe)
        else:
            _check_sha256(checkpoint.weights_sha256, checkpoint.folder / MODEL, recipe)
        return checkpoint.folder / MODEL, checkpoint
    path = weights_folder(folder) / MODEL
    if start.state_root:
        raise ConfigError(
            f"{start.checkpoint} is no checkpoint, and only one has a state root; name {path} by "
            "train.start.weights_sha256"
        )
    if not path.is_file():
        raise DataError(
            f"{path} is missing; give train.start.checkpoint a checkpoint, a bundle, or a folder with {MODEL} (weights "
            "in several files: python -m train import-state)"
        )
    _check_sha256(hash_file(path), path, recipe)
    return path, None


def fill_from_parent(model: nn.Module, recipe: Recipe) -> None:
    """Copy the parent's weights into a model that is not placed yet. Raises as find_weights, DataError if they differ
    from what the recipe's model has."""
    path, checkpoint = find_weights(recipe)
    if checkpoint:
        fill_weights(model, checkpoint)
        return
    wanted = dict(model.named_parameters())
    with ExitStack() as opened, torch.no_grad():
        for name, tensor in open_weights(path.parent, wanted, recipe=recipe, opened=opened):
            wanted[name].copy_(tensor)


def start_folder(path: Path) -> Path:
    """What `train.start.checkpoint` names: of a run's folder the last checkpoint of its training, else itself."""
    if not (path / "train.json").exists():
        return path
    return max((current(path, "train").folder / "checkpoints").glob("step-*"), default=path)


def weights_folder(folder: Path) -> Path:
    """Of a bundle the folder of its published weights, else the folder itself."""
    return folder / PUBLISHED if (folder / BUNDLE).exists() else folder


def _named(parent: Checkpoint) -> dict[str, Any]:
    position = parent.position
    named = {"step": position.step, "ledger_head": position.ledger_head, "state_root": position.state_root}
    return {**named, "imported": parent.imported} if parent.imported else named


def _check_root(parent: Checkpoint, recipe: Recipe) -> None:
    found, wanted = parent.position.state_root, recipe.train.start.state_root
    if found != wanted:
        raise ConfigError(
            f"{parent.folder} has state root {found}, train.start.state_root is {wanted}; name the other "
            "checkpoint, or this root"
        )


def _check_sha256(found: str, path: Path, recipe: Recipe) -> None:
    wanted = recipe.train.start.weights_sha256
    if found != wanted:
        raise ConfigError(
            f"{path} has SHA-256 {found}, train.start.weights_sha256 is {wanted}; name the other weights, or this hash"
        )


def _shapes(path: Path) -> Mapping[str, list[int]]:
    with safe_open(path, framework="numpy") as tensors:
        return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118 (no mapping)
