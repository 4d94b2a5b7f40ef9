"""Weights as files of safetensors: one tensor in memory at a time. Free of torch.

Read are our names and those of Hugging Face's transformers, in fp32, bf16 or fp16, all exact in fp32. Written is what
train/tensorfile.py lays out, so a file's bytes follow from its tensors.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from core.hashing import canonical_json, hash_file
from model.names import hugging_face_name
from train.tensorfile import layout_of, read_header, write_at

Floats = NDArray[np.float32]
MODEL, MANIFEST, FINAL = "model.safetensors", "manifest.json", "final"
FORMAT = "wholegrain-weights-1"
METADATA = "__metadata__"
KINDS: Mapping[str, "np.dtype[Any]"] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of weights whose names and shapes are a model's; `names` says what it calls each of them."""

    path: Path
    begin: int
    header: Mapping[str, Any]
    names: Mapping[str, str]

    def read(self, name: str) -> Floats:
        """A tensor by our name, in fp32."""
        entry = self.header[self.names[name]]
        first, last = entry["data_offsets"]
        with self.path.open("rb") as stream:
            stream.seek(self.begin + first)
            content = stream.read(last - first)
        stored: NDArray[Any] = np.frombuffer(content, dtype=KINDS[entry["dtype"]])
        if entry["dtype"] == "BF16":
            stored = (stored.astype("<u4") << 16).view("<f4")
        wide: Floats = stored.astype(np.float32, copy=False).reshape(entry["shape"])
        return wide


def open_weights(path: Path, shapes: Mapping[str, Sequence[int]], *, is_head_scaled: bool = False) -> Weights:
    """Open a file of weights of this shape.

    Raises DataError naming the first tensor that is missing, added, or of another shape or kind. With `is_head_scaled`
    (model.base_dim) files under Hugging Face's names are refused: their heads are divided.
    """
    try:
        with path.open("rb") as stream:
            begin, header = read_header(stream)
        header.pop(METADATA, None)
        found = {name: (entry["dtype"], list(entry["shape"])) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is missing or no safetensors file: {error}; get it again") from error
    theirs = {name: hugging_face_name(name) for name in shapes}
    is_theirs = bool(found.keys() & set(theirs.values()))
    names = theirs if is_theirs else {name: name for name in shapes}
    if is_theirs and is_head_scaled:
        raise DataError(f"{path} is an export whose head is divided (model.base_dim); give the checkpoint instead")
    wanted = {names[name]: list(shape) for name, shape in shapes.items()}
    strange = next((name for name in sorted(wanted.keys() | found.keys()) if _differs(name, wanted, found)), "")
    if strange:
        raise DataError(
            f"{path}: tensor {strange} is {found.get(strange, 'absent')}, section model has "
            f"{wanted.get(strange, 'none')}; only models of one shape can be taken"
        )
    return Weights(path, begin, header, names)


def write_weights(path: Path, shapes: Mapping[str, Sequence[int]], make: Callable[[str], Floats]) -> None:
    """Write a file of fp32 weights, tensor by tensor in the order of their names.

    Raises DataError naming the first tensor that holds what is no number.
    """
    layout = layout_of(shapes)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        write_at(handle, memoryview(layout.header), 0)
        for name in sorted(shapes):
            tensor = np.ascontiguousarray(make(name), dtype="<f4")
            if not np.isfinite(tensor).all():
                raise DataError(f"tensor {name} would hold what is no finite number; look at the weights it is made of")
            write_at(handle, memoryview(tensor.tobytes()), layout.places[name])
        os.fsync(handle)
    finally:
        os.close(handle)


def write_manifest(folder: Path) -> str:
    """Write manifest.json beside model.safetensors, as whoever loads the weights expects; returns their SHA-256."""
    path = folder / MODEL
    digest = hash_file(path)
    files = [{"path": MODEL, "bytes": path.stat().st_size, "sha256": digest}]
    (folder / MANIFEST).write_bytes(canonical_json({"format": FORMAT, "files": files}))
    return digest


def _differs(name: str, wanted: Mapping[str, list[int]], found: Mapping[str, tuple[str, list[int]]]) -> bool:
    if name not in wanted or name not in found:
        return True
    kind, shape = found[name]
    return kind not in KINDS or shape != wanted[name]
