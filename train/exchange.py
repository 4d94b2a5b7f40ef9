"""Verbs export-state and import-state: a run's state for other programs, and theirs for a run.

What is exported is a folder with

    safetensors   model.safetensors, weights by the model's names; optimizer.safetensors, moments as exp_avg.NAME
                  (groups.py); both fp32, the bytes of the checkpoint
    dcp           the same tensors for torch.distributed.checkpoint (dcp.py)
    state.json    step, tokens, the last step of the data order, configuration, where it comes from, hash of every file

What is imported (imported.py) becomes a checkpoint that `train.start` can name. Nothing is ever unpickled.
Free of torch until it must.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from core.arguments import take
from core.artifact import current
from core.cli import recipe_and_overrides
from core.config import RunConfig, load
from core.durable import commit_folder
from core.errors import ConfigError, DataError
from core.hashing import canonical_json, hash_file
from train.recipe import read_recipe
from train.store import ASIDE_PREFIX, MANIFEST, MODEL, OPTIMIZER, PREFIX, STATE, Checkpoint, open_checkpoint

FORMAT = "wholegrain-state-1"
EXPORT_USAGE = "python -m train export-state RECIPE|CHECKPOINT --to FOLDER [--format safetensors|dcp]"
IMPORT_USAGE = "python -m train import-state FOLDER --to FOLDER RECIPE [key=value ...]"
CONFIG = "config.json"


class Format(Enum):
    """In which form tensors are exported."""

    SAFETENSORS = "safetensors"
    DCP = "dcp"


def export_main(arguments: Sequence[str]) -> None:
    """`RECIPE|CHECKPOINT --to FOLDER [--format safetensors|dcp]`. Raises ConfigError, or DataError if it is damaged."""
    options, rest = take(arguments, values=["--format"], needed=["--to"])
    form = options.get("--format", Format.SAFETENSORS.value)
    if form not in {one.value for one in Format}:
        raise ConfigError(f"--format is {form!r}; give safetensors or dcp")
    if not rest:
        raise ConfigError(f"no recipe or checkpoint given; usage: {EXPORT_USAGE}")
    checkpoint = open_checkpoint(_named_checkpoint(rest))
    write_state(checkpoint, Path(options["--to"]), form=Format(form))
    sys.stdout.write(f"{options['--to']}\n")


def import_main(arguments: Sequence[str]) -> None:
    """`FOLDER --to FOLDER RECIPE [key=value ...]`; writes the two overrides with which a run starts from it."""
    options, rest = take(arguments, needed=["--to"])
    if len(rest) < 2:
        raise ConfigError(f"a folder to read and a recipe are needed; usage: {IMPORT_USAGE}")
    recipe = read_recipe(*recipe_and_overrides(rest[1:], IMPORT_USAGE))
    from train.imported import import_state  # imports torch

    made = import_state(Path(rest[0]), Path(options["--to"]), recipe=recipe)
    sys.stdout.write(f"train.start.checkpoint={made.folder}\ntrain.start.state_root={made.position.state_root}\n")


def write_state(checkpoint: Checkpoint, folder: Path, *, form: Format) -> None:
    """Write a verified checkpoint's state into a new folder, whole or not at all.

    Raises ConfigError if the folder is there, DataError if what was written is not what was verified.
    """
    if folder.exists():
        raise ConfigError(f"{folder} is there already; give --to a folder that is not")
    aside = folder.absolute().with_name(f"{ASIDE_PREFIX}{folder.name}")
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir(parents=True)
    if form is Format.DCP:
        from train.dcp import write_dcp  # imports torch

        write_dcp(checkpoint, aside)
    else:
        _copy(checkpoint, aside)
    (aside / STATE).write_bytes(canonical_json(_facts(checkpoint, aside, form=form)))
    commit_folder(aside, folder.absolute())


def _copy(checkpoint: Checkpoint, aside: Path) -> None:
    listed = json.loads((checkpoint.folder / MANIFEST).read_bytes())["files"]
    wanted = {entry["path"]: entry["sha256"] for entry in listed}
    for name in (MODEL, OPTIMIZER):
        shutil.copyfile(checkpoint.folder / name, aside / name)
        if hash_file(aside / name) != wanted[name]:
            raise DataError(f"the copy of {checkpoint.folder / name} is not what {MANIFEST} says; test the disk")


def _facts(checkpoint: Checkpoint, aside: Path, *, form: Format) -> dict[str, Any]:
    position = checkpoint.position
    config = checkpoint.folder.parent.parent / CONFIG
    state = json.loads((checkpoint.folder / STATE).read_bytes())
    return {
        "format": FORMAT,
        "tensors": form.value,
        "step": position.step,
        "tokens": position.tokens,
        "data_step": position.step + checkpoint.measured.shift,
        "origin": {
            "ledger_head": position.ledger_head,
            "state_root": position.state_root,
            "identity": position.identity,
            **({"imported": checkpoint.imported} if checkpoint.imported else {}),
        },
        # A checkpoint that was copied alone has none beside it.
        "configuration": json.loads(config.read_bytes()) if config.exists() else None,
        "files": [
            {"path": path.name, "bytes": path.stat().st_size, "sha256": hash_file(path)}
            for path in sorted(aside.iterdir())
        ],
        **({"spikes": state["spikes"]} if "spikes" in state else {}),
    }


def _named_checkpoint(rest: Sequence[str]) -> Path:
    """The checkpoint itself, or the last one of the run that the recipe made last."""
    given = Path(rest[0])
    if given.name.startswith(PREFIX) or (given / MANIFEST).exists():
        if rest[1:]:
            raise ConfigError(f"{rest[1]!r} has no effect on a checkpoint; usage: {EXPORT_USAGE}")
        return given
    recipe, overrides = recipe_and_overrides(rest, EXPORT_USAGE)
    train = current(load(recipe, "run", RunConfig, overrides).out_folder, "train")
    return train.folder / str(train.facts["final"])
