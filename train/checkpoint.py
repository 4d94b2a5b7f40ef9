"""Checkpoints: whole tensors, independent of placement, committed in one step or not at all.

A checkpoint is a folder `step-000240` with

    model.safetensors       weights by the model's names, fp32
    optimizer.safetensors   the optimizer's moments, as exp_avg.NAME (groups.py names them)
    state.json              step, tokens, ledger head, state root, identity; what the spike policy measured, if it is on
    manifest.json           the same, and size and SHA-256 of the three files

It is written as `.tmp-<step>-<generation>`, forced to the disk, renamed, and the folder that holds the name is forced
to the disk too. A generation is one incarnation of the run's processes; its number only grows, and a process of an
older one cannot commit. Loading trusts nothing that the manifest's hashes do not confirm.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch import Tensor, nn

from core.durable import commit_folder, write_durably
from core.errors import DataError, RetryError
from core.hashing import canonical_json, hash_file
from core.merkle import named_root
from train.groups import MOMENT_PREFIXES
from train.placed import content_root
from train.spikes import Measured

FORMAT = "wholegrain-checkpoint-1"
MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
PREFIX, ASIDE_PREFIX = "step-", ".tmp-"
GENERATION = "generation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where in which run a checkpoint stands."""

    step: int
    tokens: int
    ledger_head: str
    state_root: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose files have been verified."""

    folder: Path
    position: Position
    measured: Measured
    weights_sha256: str


def state_root(tensors: Mapping[str, Tensor]) -> str:
    """Root over the bytes of every weight and moment by name, in chunks: the same at every placement."""
    return named_root({name: content_root(tensor) for name, tensor in tensors.items()})


def begin_generation(witness: Path) -> int:
    """Count up the number of times that the run was started; older processes can no longer commit."""
    generation = _generation(witness) + 1
    write_durably(witness / GENERATION, f"{generation}\n".encode())
    return generation


def save(
    checkpoints: Path,
    tensors: Mapping[str, Tensor],
    position: Position,
    *,
    measured: Measured | None = None,
    witness: Path,
    generation: int,
) -> Checkpoint:
    """Commit a checkpoint of whole tensors. Raises RetryError if a newer generation has taken over the run."""
    checkpoints.mkdir(exist_ok=True)
    aside = checkpoints / f"{ASIDE_PREFIX}{position.step:06d}-{generation}"
    aside.mkdir()
    _write_tensors(aside / MODEL, {name: tensors[name] for name in tensors if not name.startswith(MOMENT_PREFIXES)})
    _write_tensors(aside / OPTIMIZER, {name: tensors[name] for name in tensors if name.startswith(MOMENT_PREFIXES)})
    policy = {"spikes": measured.plain()} if measured else {}
    (aside / STATE).write_bytes(canonical_json({**asdict(position), **policy}))
    files = [_entry(aside / name) for name in (MODEL, OPTIMIZER, STATE)]
    manifest = {
        "format": FORMAT,
        "step": position.step,
        "files": files,
        "state_root": position.state_root,
        "ledger_head": position.ledger_head,
        "identity": position.identity,
    }
    (aside / MANIFEST).write_bytes(canonical_json(manifest))
    if _generation(witness) != generation:
        raise RetryError(
            f"generation {_generation(witness)} of this run has started; this process is of generation {generation} "
            f"and leaves checkpoint {position.step} to it"
        )
    final = checkpoints / folder_name(position.step)
    commit_folder(aside, final)
    return Checkpoint(
        folder=final, position=position, measured=measured or Measured(), weights_sha256=files[0]["sha256"]
    )


def open_checkpoint(folder: Path) -> Checkpoint:
    """Hash every file again. Raises DataError naming the first that is missing or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"no readable {MANIFEST} in checkpoint {folder}: {error}; use the one before it") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{folder / MANIFEST} is not a {FORMAT} manifest; use the checkpoint before it")
    for entry in manifest["files"]:
        path = folder / entry["path"]
        if not path.exists() or _entry(path) != entry:
            raise DataError(
                f"{path} is missing or not what {MANIFEST} says (SHA-256 {entry['sha256'][:12]}..., "
                f"{entry['bytes']} bytes); use the checkpoint before it"
            )
    state = json.loads((folder / STATE).read_bytes())
    measured = Measured.of(state.pop("spikes")) if "spikes" in state else Measured()
    position = Position(**state)
    if position.step != manifest["step"] or folder_name(position.step) != folder.name:
        raise DataError(f"checkpoint {folder} holds step {position.step}; it was renamed or edited")
    return Checkpoint(
        folder=folder, position=position, measured=measured, weights_sha256=manifest["files"][0]["sha256"]
    )


def list_checkpoints(checkpoints: Path) -> dict[int, Path]:
    """The committed checkpoints by step, unverified."""
    return {int(path.name.removeprefix(PREFIX)): path for path in checkpoints.glob(f"{PREFIX}*")}


def sweep(checkpoints: Path) -> None:
    """Remove what killed writers left."""
    for path in checkpoints.glob(f"{ASIDE_PREFIX}*"):
        shutil.rmtree(path)


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint; a kill meanwhile leaves nothing that looks like one."""
    aside = checkpoint.with_name(f"{ASIDE_PREFIX}removed-{checkpoint.name}")
    checkpoint.rename(aside)
    shutil.rmtree(aside)


def fill_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy the weights into a model that is not placed yet. Raises DataError if it has other tensors."""
    weights = load_file(checkpoint.folder / MODEL)
    wanted = dict(model.named_parameters())
    if {name: tensor.shape for name, tensor in weights.items()} != {name: p.shape for name, p in wanted.items()}:
        raise DataError(f"{checkpoint.folder / MODEL} holds other tensors than the recipe's model; check section model")
    with torch.no_grad():
        for name, parameter in wanted.items():
            parameter.copy_(weights[name])


def read_moments(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The optimizer's moments, whole, mapped from the file: a rank reads from the disk only what it copies."""
    return load_file(checkpoint.folder / OPTIMIZER)


def folder_name(step: int) -> str:
    """The name of a step's checkpoint."""
    return f"{PREFIX}{step:06d}"


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # The file format orders by name, so the same tensors give the same bytes.
    save_file({name: tensor.numpy() for name, tensor in tensors.items()}, path)


def _entry(path: Path) -> dict[str, Any]:
    return {"path": path.name, "bytes": path.stat().st_size, "sha256": hash_file(path)}


def _generation(witness: Path) -> int:
    path = witness / GENERATION
    return int(path.read_text()) if path.exists() else 0
