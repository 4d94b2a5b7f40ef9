"""What preferences are measured against: -log p of both answers of every pair by the weights that a run begins with.

Computed once, before the first step, and kept as `reference.bin` in the run's folder; its SHA-256 stands in the first
line of the ledger. So training holds one model and not two, each pair is computed once however often it comes, and a
run that goes on at another placement reads the same bits or is refused. Whoever audits a segment computes what it needs
again from the parent's weights, which the first line names, and need not believe the file.

What a pair gives must not depend on when it comes: pairs are computed in batches of their own, of a micro-batch's
shape, in the order of source and window; the last is filled up with its last pair. Batch k is computed by rank k mod W,
on a whole model that is given up before the run's own is laid out.

The file has a record a pair: source (u32), window (u64), -log p of the chosen and of the rejected answer (f32), all
little-endian, in that order.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.durable import write_durably
from core.errors import DeterministicError
from core.hashing import sha256_hex
from core.ledger import read_lines
from data.loader import Loader
from data.order import Sample
from model.transformer import row_losses
from train.config import Objective
from train.forward import new_model, run_as_asked
from train.fsdp2 import interleaved
from train.parent import fill_from_parent
from train.recipe import Recipe
from train.runtime import World

FILE = "reference.bin"
RECORD = np.dtype([("source", "<u4"), ("window", "<u8"), ("chosen", "<f4"), ("rejected", "<f4")])

Pair = tuple[int, int]


class Reference:
    """-log p of both answers, by source and window of the pack."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        rows = np.frombuffer(content, dtype=RECORD)
        keys = zip(rows["source"].tolist(), rows["window"].tolist(), strict=True)
        self._places = {key: place for place, key in enumerate(keys)}
        self._lost = np.stack([rows["chosen"], rows["rejected"]], axis=1).astype(np.float32)

    @property
    def root(self) -> str:
        """SHA-256 of the file."""
        return sha256_hex(self.content)

    def losses(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """For the rows [2B] of a batch of pairs."""
        places = [self._places[sample.source, sample.window] for sample in samples]
        return self._lost[places].reshape(-1)


def open_reference(recipe: Recipe, loader: Loader, *, world: World, folder: Path, ledger: Path) -> Reference | None:
    """The run's reference: the file that the ledger's first line names, or else computed and written.

    None unless preferences are learned. All ranks call it together.
    """
    if recipe.train.objective is not Objective.PREFERENCE:
        return None
    content = world.share(_kept(folder / FILE, ledger) if world.is_first else None)
    if content is not None:
        return Reference(content)
    reference = compute_reference(recipe, loader, world=world, steps=range(1, recipe.train.steps + 1))
    if world.is_first and reference:
        write_durably(folder / FILE, reference.content)
    return reference


def compute_reference(recipe: Recipe, loader: Loader, *, world: World, steps: Iterable[int]) -> Reference | None:
    """The reference for some steps of a run; None unless preferences are learned. All ranks call it together.

    Raises DataError or ConfigError if the parent's weights are not there, DeterministicError if they give what is not
    finite.
    """
    if recipe.train.objective is not Objective.PREFERENCE:
        return None
    batches = _batches(_pairs(loader, range(1, recipe.train.steps + 1)), size=recipe.train.micro_batch)
    wanted = set(_pairs(loader, steps))
    needed = [batch for batch in batches if not wanted.isdisjoint(batch)]
    words = _compute(recipe, loader, needed, world=world)
    lost = words.numpy().astype(np.uint32).view(np.float32).reshape(len(needed), -1, 2)
    rows = {pair: tuple(two) for batch, own in zip(needed, lost, strict=True) for pair, two in zip(batch, own)}  # noqa: B905
    bad = [pair for pair, two in rows.items() if not np.isfinite(two).all()]
    if bad:
        raise DeterministicError(
            f"the parent's weights give a probability that is not finite for window {bad[0][1]} of source {bad[0][0]}"
        )
    content = np.array([(*pair, *two) for pair, two in sorted(rows.items())], dtype=RECORD).tobytes()
    return Reference(content)


@torch.no_grad()
def _compute(recipe: Recipe, loader: Loader, batches: Sequence[Sequence[Pair]], *, world: World) -> Tensor:
    """The bits of the rows' fp32 values, a row a batch."""
    model = new_model(recipe)
    fill_from_parent(model, recipe)
    run_as_asked(model, recipe)
    model.to(world.device)
    rows = 2 * recipe.train.micro_batch
    words = torch.zeros(len(batches), rows, dtype=torch.int64)
    for turn in interleaved(range(len(batches)), rank=world.rank, world_size=world.size):
        if turn.is_dummy:
            continue
        pairs = batches[turn.index]
        whole = [loader.whole(Sample(source, 0, window)) for source, window in pairs]
        whole += [whole[-1]] * (recipe.train.micro_batch - len(whole))
        tokens_BT1 = torch.from_numpy(np.concatenate([ids for ids, _ in whole])).to(world.device)
        counted_BT = torch.from_numpy(np.concatenate([counted for _, counted in whole])).to(world.device)
        lost_B = row_losses(model, tokens_BT1, counted_BT, bos_id=loader.bos_id)
        words[turn.index] = torch.from_numpy(lost_B.cpu().numpy().view(np.uint32).astype(np.int64))
    # Every row is zero on all ranks but one: the sum only moves it.
    world.add_integers(words)
    return words


def _pairs(loader: Loader, steps: Iterable[int]) -> list[Pair]:
    """The pairs of steps, each once, in the order of source and window."""
    indices = range(loader.shape.micro_batches)
    found = {(one.source, one.window) for step in steps for index in indices for one in loader.samples(step, index)}
    return sorted(found)


def _batches(pairs: Sequence[Pair], *, size: int) -> list[Sequence[Pair]]:
    return [pairs[first : first + size] for first in range(0, len(pairs), size)]


def _kept(path: Path, ledger: Path) -> bytes | None:
    """What was kept, if the ledger's first line names it."""
    if not path.exists() or not ledger.exists():
        return None
    content, lines = path.read_bytes(), read_lines(ledger, is_torn_allowed=True)
    return content if lines and lines[0].get("reference") == sha256_hex(content) else None
