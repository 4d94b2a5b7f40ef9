"""Finds the weights that a recipe names by hash, and refuses those of another model or tokenizer. Free of torch.

A folder may be a bundle, the export of one, a checkpoint's folder in a bundle or in a run, or one that holds
model.safetensors with tokenizer.model and config.json beside it.
"""

import json
from pathlib import Path
from typing import Any

from core.config import identity
from core.errors import ConfigError, DataError
from core.hashing import hash_file
from model.config import ModelConfig
from posttrain.tensors import MANIFEST, MODEL

PLACES = (MODEL, f"final/{MODEL}", f"weights/final/{MODEL}", f"checkpoints/*/{MODEL}")
TOKENIZER = "tokenizer.model"
# Where a checkpoint's or an export's tokenizer and shape lie, from the folder that holds the weights.
TOKENIZERS = (TOKENIZER, *(f"{up}tokenizer/{TOKENIZER}" for up in ("../../", "../../../")))
CONFIGS = (
    "config.json",
    *(f"{up}config/{stage}.json" for up in ("../../", "../../../") for stage in ("train", "merge")),
    "../../config.json",
    "../config.json",
)
# What config.json of an export calls fields that no shape shows.
THEIR_NAMES = {"rope_theta": "rope_theta", "rms_norm_eps": "norm_eps", "num_attention_heads": "n_heads"}


def own_weights(train: Path, step: int) -> Path:
    """The weights of a step of this run's own training. Raises DataError if they are not as their manifest says."""
    folder = train / "checkpoints" / f"step-{step:06d}"
    path = folder / MODEL
    if not path.is_file():
        raise ConfigError(f"merge names step {step}, and {train} keeps no checkpoint of it; name a step that it keeps")
    said = {entry["path"]: entry["sha256"] for entry in json.loads((folder / MANIFEST).read_bytes())["files"]}
    if hash_file(path) != said[MODEL]:
        raise DataError(f"{path} is not what its {MANIFEST} says; train again")
    return path


def find_weights(folder: Path, sha256: str) -> Path:
    """The file in a folder that has this SHA-256. Raises ConfigError naming what is there instead."""
    if not folder.is_dir():
        raise ConfigError(f"merge names weights {sha256[:12]} in {folder}, which is no folder; give its folder")
    found = {path: hash_file(path) for place in PLACES for path in sorted(folder.glob(place))}
    for path, digest in found.items():
        if digest == sha256:
            return path
    there = ", ".join(f"{path.relative_to(folder)} with SHA-256 {digest}" for path, digest in found.items())
    raise ConfigError(
        f"no {MODEL} in {folder} has SHA-256 {sha256}; there is {there or 'none'}; name that one, or another folder"
    )


def check_parent(path: Path, folder: Path, model: ModelConfig) -> None:
    """Raise ConfigError unless the configuration beside the weights is of this recipe's model."""
    near = next((one for name in CONFIGS if (one := path.parent / name).is_file()), None)
    if near is None:
        raise ConfigError(f"no config.json beside the weights in {folder} says of what model they are; put it there")
    try:
        said: dict[str, Any] = json.loads(near.read_bytes())
    except ValueError as error:
        raise DataError(f"{near} cannot be read: {error}; get it again") from error
    ours = identity(model)
    theirs = said["model"] if isinstance(said.get("model"), dict) else None
    pairs = (
        {name: (theirs.get(name), ours[name]) for name in ours if name != "init_std"}
        if theirs
        else {name: (said.get(name), ours[own]) for name, own in THEIR_NAMES.items()}
    )
    for name, (found, wanted) in pairs.items():
        if found != wanted:
            raise ConfigError(
                f"{near} has {name} {found}, section model {wanted}; only models of one shape can be merged"
            )


def check_tokenizer(path: Path, folder: Path, tokenizer: Path) -> None:
    """Raise ConfigError unless the tokenizer beside the weights is the one in the folder `tokenizer`."""
    near = next((one for name in TOKENIZERS if (one := path.parent / name).is_file()), None) or _of_run(path)
    if near is None:
        raise ConfigError(f"no {TOKENIZER} beside the weights in {folder} says which tokenizer is theirs; put it there")
    found, wanted = hash_file(near), hash_file(tokenizer / TOKENIZER)
    if found != wanted:
        raise ConfigError(
            f"{near} has SHA-256 {found[:12]}, this run's tokenizer {wanted[:12]}; only models of one tokenizer can be "
            "merged: set tokenizer.model and tokenizer.sha256 to theirs"
        )


def _of_run(path: Path) -> Path | None:
    """The tokenizer of the run in whose training artifact a checkpoint lies."""
    pointer = path.parents[3] / "tokenizer.json" if len(path.parents) > 3 else Path()
    if not pointer.is_file():
        return None
    said = json.loads(pointer.read_bytes())
    return pointer.parent / str(said["folder"]) / TOKENIZER
