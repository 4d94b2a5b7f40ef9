"""Folders of checkpoints: how one is committed, verified, found and removed. Free of torch.

A checkpoint is a folder `step-000240` with

    model.safetensors       weights by the model's names, whole, fp32
    optimizer.safetensors   the optimizer's moments, as exp_avg.NAME (groups.py names them)
    state.json              step, tokens, ledger head, state root, identity; what the spike policy measured; of which
                            files, if it was imported (imported.py)
    manifest.json           the same, size and SHA-256 of the three files, and the hash of every chunk of every tensor

It is the same to the last byte whatever the placement and the number of ranks. It is written as
`.tmp-<step>-<generation>`, forced to the disk, renamed, and the folder that holds the name is forced to the disk too. A
generation is one incarnation of the run's processes; its number only grows, and a process of an older one cannot
commit. Loading trusts nothing that the manifest's hashes do not confirm.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.durable import commit_folder, write_durably
from core.errors import DataError, RetryError
from core.hashing import canonical_json, hash_file
from core.merkle import CHUNK_BYTES, leaf_hash
from core.suffer import touch
from train.groups import MOMENT_PREFIXES
from train.spikes import Measured
from train.tensorfile import Layout, layout_of, read_header

FORMAT = "wholegrain-checkpoint-2"
MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
PREFIX, ASIDE_PREFIX = "step-", ".tmp-"
GENERATION = "generation"
# The folder of a run in which they lie.
CHECKPOINTS = "checkpoints"


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
    imported: Mapping[str, Any] | None = None


def layouts_of(shapes: Mapping[str, Sequence[int]]) -> dict[str, Layout]:
    """The two files of tensors, for the shapes of weights and moments by name."""
    moments = {name for name in shapes if name.startswith(MOMENT_PREFIXES)}
    return {
        MODEL: layout_of({name: shapes[name] for name in shapes.keys() - moments}),
        OPTIMIZER: layout_of({name: shapes[name] for name in moments}),
    }


def file_of(name: str) -> str:
    """In which of the two files a tensor lies."""
    return OPTIMIZER if name.startswith(MOMENT_PREFIXES) else MODEL


def begin_generation(witness: Path, *, given: int = 0) -> int:
    """Count up the number of times that the run was started; older processes can no longer commit.

    A coordinator gives the number itself. Raises RetryError if a newer generation has begun.
    """
    generation = given or _generation(witness) + 1
    if generation < _generation(witness):
        raise RetryError(f"generation {_generation(witness)} of this run has started; this one is {generation}")
    write_durably(witness / GENERATION, f"{generation}\n".encode())
    return generation


def aside_of(checkpoints: Path, step: int, generation: int) -> Path:
    """Where a checkpoint lies until it is committed."""
    return checkpoints / f"{ASIDE_PREFIX}{step:06d}-{generation}"


def commit(
    aside: Path,
    position: Position,
    *,
    hashes: Mapping[str, Sequence[bytes]],
    measured: Measured | None,
    witness: Path,
    generation: int,
    imported: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Commit a folder that holds all tensors. Raises RetryError if a newer generation has taken over the run."""
    policy = {"spikes": measured.plain()} if measured else {}
    origin = {"imported": imported} if imported else {}
    touch("commit.state", position.step)
    (aside / STATE).write_bytes(canonical_json({**asdict(position), **policy, **origin}))
    files = [_entry(aside / name) for name in (MODEL, OPTIMIZER, STATE)]
    manifest = {
        "format": FORMAT,
        "step": position.step,
        "files": files,
        "chunks": {name: [one.hex() for one in own] for name, own in hashes.items()},
        "state_root": position.state_root,
        "ledger_head": position.ledger_head,
        "identity": position.identity,
    }
    touch("commit.manifest", position.step)
    (aside / MANIFEST).write_bytes(canonical_json(manifest))
    touch("commit.rename", position.step)
    if _generation(witness) != generation:
        raise RetryError(
            f"generation {_generation(witness)} of this run has started; this process is of generation {generation} "
            f"and leaves checkpoint {position.step} to it"
        )
    final = aside.with_name(folder_name(position.step))
    commit_folder(aside, final)
    touch("commit.renamed", position.step)
    return Checkpoint(
        folder=final,
        position=position,
        measured=measured or Measured(),
        weights_sha256=files[0]["sha256"],
        imported=imported,
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
                f"{entry['bytes']} bytes{_where(path, manifest['chunks'])}); use the checkpoint before it"
            )
    state = json.loads((folder / STATE).read_bytes())
    measured = Measured.of(state.pop("spikes")) if "spikes" in state else Measured()
    imported = state.pop("imported", None)
    position = Position(**state)
    if position.step != manifest["step"] or folder_name(position.step) != folder.name:
        raise DataError(f"checkpoint {folder} holds step {position.step}; it was renamed or edited")
    return Checkpoint(
        folder=folder,
        position=position,
        measured=measured,
        weights_sha256=manifest["files"][0]["sha256"],
        imported=imported,
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


def folder_name(step: int) -> str:
    """The name of a step's checkpoint."""
    return f"{PREFIX}{step:06d}"


def _where(path: Path, chunks: Mapping[str, Sequence[str]]) -> str:
    """Which chunk of which tensor is damaged, if the file's size and header still tell where they lie."""
    if not path.exists() or path.name not in (MODEL, OPTIMIZER):
        return ""
    try:
        with path.open("rb") as stream:
            begin, header = read_header(stream)
            for name in sorted(header):
                first, last = (begin + at for at in header[name]["data_offsets"])
                stream.seek(first)
                for index, wanted in enumerate(chunks[name]):
                    chunk = stream.read(min(CHUNK_BYTES, last - first - index * CHUNK_BYTES))
                    if leaf_hash(chunk).hex() != wanted:
                        return f", damaged in chunk {index} of {name}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return ", damaged in its header"
    return ""


def _entry(path: Path) -> dict[str, Any]:
    return {"path": path.name, "bytes": path.stat().st_size, "sha256": hash_file(path)}


def _generation(witness: Path) -> int:
    path = witness / GENERATION
    return int(path.read_text()) if path.exists() else 0
