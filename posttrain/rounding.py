"""Weights as small integers with scales: symmetric, to the nearest, ties to even (weight-only, no calibration).

A row, or each group of its elements, has the scale max |w| / (2^(bits-1) - 1) in fp32; an integer is w / scale, rounded
(Dettmers et al. 2022, arXiv:2208.07339, section 2.1, row-wise absmax; here without outlier columns). What it stands for
is integer x scale in fp32. Everything is an operation on single elements or a maximum, so the same bits on every CPU.

In the file a matrix W is `W` (int8; with 4 bits uint8, two to a byte, the even column in the low half, each plus 8) and
`W_scale` (fp32, rows x groups). What is not rounded is there in fp32 under its own name.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from posttrain.arithmetic import tree_sum
from posttrain.config import QuantizeConfig

Floats = NDArray[np.float32]
SCALE, OFFSET = "_scale", 8


@dataclass(frozen=True, slots=True)
class Rounded:
    """A matrix as integers [rows, groups, elements] and scales [rows, groups, 1]."""

    integers: NDArray[np.int8]
    scales: Floats
    bits: int

    def values(self) -> Floats:
        """The fp32 values that it stands for, [rows, columns]."""
        wide: Floats = self.integers.astype(np.float32) * self.scales
        return wide.reshape(len(wide), -1)

    def errors(self, tensor: Floats) -> dict[str, float]:
        """The largest and the mean distance from what was rounded."""
        distances = np.abs(tensor.astype(np.float64) - self.values().astype(np.float64))
        return {"largest": float(distances.max()), "mean": tree_sum(distances) / distances.size}

    def packed(self) -> NDArray[Any]:
        """The integers as the file holds them."""
        flat = self.integers.reshape(len(self.integers), -1)
        if self.bits == 8:
            return flat
        halves = (flat + OFFSET).astype(np.uint8)
        joined: NDArray[np.uint8] = np.bitwise_or(halves[:, 0::2], np.left_shift(halves[:, 1::2], np.uint8(4)))
        return joined


def is_rounded(name: str, shape: Sequence[int], config: QuantizeConfig) -> bool:
    """Whether a tensor is a matrix that is not kept."""
    return len(shape) == 2 and not name.startswith(tuple(config.keeps))


def round_tensor(name: str, tensor: Floats, config: QuantizeConfig) -> Rounded:
    """Round a matrix. Raises ConfigError if its rows do not divide over the groups."""
    rows, columns = tensor.shape
    group = config.group or columns
    if columns % group or columns % 2:
        raise ConfigError(f"tensor {name} has rows of {columns}, quantize.group is {group}; give a divisor of it")
    most = np.float32(2 ** (config.bits - 1) - 1)
    grouped = tensor.reshape(rows, columns // group, group)
    largest = np.abs(grouped).max(axis=2, keepdims=True)
    scales = np.where(largest > 0, largest / most, np.float32(1)).astype(np.float32)
    # The smallest scales lose bits, so a quotient may come out beyond the range.
    integers = np.clip(np.rint(grouped / scales), -most, most).astype(np.int8)
    return Rounded(integers, scales, config.bits)


def write_rounded(path: Path, tensors: Iterable[tuple[str, Floats | Rounded]]) -> None:
    """Write a file of safetensors, the tensors in the order of their names."""
    parts: dict[str, NDArray[Any]] = {}
    for name, tensor in tensors:
        if isinstance(tensor, Rounded):
            parts[name] = tensor.packed()
            parts[f"{name}{SCALE}"] = tensor.scales.reshape(len(tensor.scales), -1)
        else:
            parts[name] = tensor
    kinds = {np.dtype(np.float32): "F32", np.dtype(np.int8): "I8", np.dtype(np.uint8): "U8"}
    # Wide kinds first, as the library does it, so that every tensor lies where its elements may.
    order = sorted(parts, key=lambda name: (-parts[name].dtype.itemsize, name))
    entries, end = {}, 0
    for name in order:
        begin, end = end, end + parts[name].nbytes
        entries[name] = {
            "dtype": kinds[parts[name].dtype],
            "shape": list(parts[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            stream.write(np.ascontiguousarray(parts[name]).tobytes())
