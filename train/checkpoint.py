"""The tensors of a checkpoint: written chunk by chunk by whoever owns them, read whole. store.py has the folders."""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from core.errors import DataError
from core.merkle import named_root
from train.pieces import Leaves, Stretch, chunk_hashes, whole
from train.placed import content_roots
from train.spikes import Measured
from train.store import MODEL, OPTIMIZER, Checkpoint, Position, aside_of, commit, file_of, layouts_of
from train.tensorfile import FP32_BYTES, Layout, allocate, write_at


def state_root(tensors: Mapping[str, Tensor]) -> str:
    """Root over the bytes of every weight and moment by name, in chunks: the same at every placement."""
    return named_root(content_roots(tensors))


def allocate_files(folder: Path, layouts: Mapping[str, Layout]) -> None:
    """Make the two files of tensors at their full size, unwritten. Raises OSError if the disk is full."""
    folder.mkdir()
    for file, layout in layouts.items():
        allocate(folder / file, layout)


def write_headers(folder: Path, layouts: Mapping[str, Layout]) -> None:
    """Write what stands before the tensors."""
    for file, layout in layouts.items():
        handle = os.open(folder / file, os.O_WRONLY)
        try:
            write_at(handle, memoryview(layout.header), 0)
        finally:
            os.close(handle)


def write_stretches(folder: Path, stretches: Iterable[Stretch], layouts: Mapping[str, Layout]) -> Leaves:
    """Hash chunks and write them to their places in the allocated files; they are on the disk when it returns."""
    leaves: Leaves = {}
    with ExitStack() as opened:
        handles = {}
        for file in layouts:
            handles[file] = os.open(folder / file, os.O_WRONLY)
            opened.callback(os.close, handles[file])
        for stretch in stretches:
            file = file_of(stretch.name)
            place = layouts[file].places[stretch.name] + stretch.start * FP32_BYTES
            with stretch.lock:
                write_at(handles[file], stretch.content, place)
                leaves |= stretch.leaves()
                stretch.is_done = True
        for handle in handles.values():
            os.fsync(handle)
    return leaves


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
    aside = aside_of(checkpoints, position.step, generation)
    layouts = layouts_of({name: tensor.shape for name, tensor in tensors.items()})
    allocate_files(aside, layouts)
    write_headers(aside, layouts)
    hashes = chunk_hashes(write_stretches(aside, whole(tensors), layouts))
    return commit(aside, position, hashes=hashes, measured=measured, witness=witness, generation=generation)


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
