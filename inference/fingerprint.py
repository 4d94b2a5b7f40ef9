"""The fingerprint of a model: its logits on ids that are the same for every model of one vocabulary.

Written by stage evaluate from the trained checkpoint, and computed again from the published folder (examine.py). The
SHA-256 over all logits is for machines that answer the numerics profile alike; the drawn values, some a position, are
for others and for other runtimes, which come within a tolerance.
"""

from typing import Any

import torch

from core.hashing import sha256_hex
from core.seeds import derive_seed
from model.transformer import Transformer

POSITIONS = 32
VALUES = 16


def fixed_ids(model: Transformer, *, bos_id: int) -> list[int]:
    """Beginning with bos, ids that follow from the size of the vocabulary alone."""
    count = min(POSITIONS, model.config.max_seq_len)
    return [bos_id, *(_drawn(model.config.vocab_size, "id", place) for place in range(count - 1))]


def fingerprint_of(model: Transformer, *, bos_id: int) -> dict[str, Any]:
    """The ids, the SHA-256 of their logits (fp32, row by row), and of each row the values of some drawn columns."""
    ids = fixed_ids(model, bos_id=bos_id)
    return {"ids": ids, **facts_of(logits_of(model, ids))}


@torch.inference_mode()
def logits_of(model: Transformer, ids: list[int]) -> torch.Tensor:
    """The logits [T, V] of a row of ids, fp32."""
    logits_TV: torch.Tensor = model(torch.tensor([ids]))[0]
    return logits_TV.float().contiguous()


def facts_of(logits_TV: torch.Tensor) -> dict[str, Any]:
    """What a fingerprint says of logits."""
    rows = logits_TV.tolist()
    values = [[row[column].hex() for column in columns(len(row), place)] for place, row in enumerate(rows)]
    return {"logits": values, "sha256": sha256_hex(logits_TV.numpy().tobytes())}


def columns(vocab_size: int, place: int) -> list[int]:
    """The columns of a row that are kept."""
    return [_drawn(vocab_size, "column", place, number) for number in range(VALUES)]


def largest_difference(said: list[list[str]], found: list[list[str]]) -> float:
    """The largest absolute difference of two fingerprints' values; infinity if they have other shapes, or NaNs."""
    pairs = [(a, b) for one, other in zip(said, found, strict=False) for a, b in zip(one, other, strict=False)]
    sizes = [len(row) for row in said], [len(row) for row in found]
    differences = [abs(float.fromhex(a) - float.fromhex(b)) for a, b in pairs]
    is_sound = sizes[0] == sizes[1] and all(one == one for one in differences)
    return max(differences, default=0.0) if is_sound else float("inf")


def _drawn(size: int, *names: str | int) -> int:
    return derive_seed(0, "fingerprint", *names) % size
