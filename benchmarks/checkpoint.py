"""For how long training waits for a checkpoint, as shares of a step: beside the training, and before it goes on.

`python -m benchmarks.checkpoint [ROUNDS]` trains a small model on random tokens, on one rank, and saves it in turns in
both ways; every round measures a plain step too, and the steps that are taken while a checkpoint is written.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from core.profile import Attention
from model.config import ModelConfig
from model.init import initialize
from model.transformer import Transformer, next_token_loss
from tests.train.configs import train_config
from train.checkpoint import allocate_files
from train.parallel import place
from train.placed import Placed
from train.runtime import World
from train.saver import Saver, kept_layouts
from train.store import Position, aside_of, begin_generation, commit, folder_name, remove

SHAPE = ModelConfig(
    dim=256, n_layers=6, n_heads=4, n_kv_heads=4, ffn_dim=704, vocab_size=4096, max_seq_len=256, rope_theta=10000.0,
    norm_eps=1e-5, is_embedding_tied=True, init_std=0.02,
)  # fmt: skip
MICRO_BATCHES, ROUNDS = 4, 5


class Folder:
    """Commits as a run does, without a ledger."""

    def __init__(self, root: Path, placed: Placed) -> None:
        self._root, self._layouts, self._step = root, kept_layouts(placed), 0
        self._generation = begin_generation(root)

    def open_aside(self, step: int) -> Path:
        """See Committer."""
        self._step = step
        aside = aside_of(self._root, step, self._generation)
        allocate_files(aside, self._layouts)
        return aside

    def commit(self, aside: Path, root: str, hashes: Mapping[str, Sequence[bytes]]) -> Callable[[], None]:
        """See Committer."""
        position = Position(step=self._step, tokens=0, ledger_head="", state_root=root, identity="")
        here, generation = self._root, self._generation
        return lambda: _discard(
            commit(aside, position, hashes=hashes, measured=None, witness=here, generation=generation)
        )

    def note_committed(self) -> None:
        """Make room."""
        remove(self._root / folder_name(self._step))


def main() -> None:
    """Print the shares."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    torch.set_num_threads(1)
    world = World(rank=0, size=1, device="cpu")
    model = Transformer(SHAPE, Attention.SDPA)
    initialize(model, seed=1, std=SHAPE.init_std, width_factor=1.0)
    placed = place(model, world=world, config=train_config(micro_batches=MICRO_BATCHES))
    with tempfile.TemporaryDirectory() as folder:
        saver = Saver(placed, world, committer=Folder(Path(folder), placed))
        _save(saver, 0)
        taken = [_measure(saver, placed, step) for step in range(1, rounds + 1)]
    plain, asynchronous, beside, synchronous = (statistics.median(column) for column in zip(*taken, strict=True))
    size = sum(layout.size for layout in kept_layouts(placed).values())
    print(f"state of {size / 1e6:.0f} MB, {rounds} rounds in turns, medians; a plain step takes {plain:.2f} s")  # noqa: T201
    print(f"train.save=async  training waits for {asynchronous / plain:7.1%} of a step")  # noqa: T201
    print(f"train.save=sync   training waits for {synchronous / plain:7.1%} of a step")  # noqa: T201
    print(f"a step while a checkpoint is written takes {beside / plain:.2f} of a plain one")  # noqa: T201


def _measure(saver: Saver, placed: Placed, number: int) -> tuple[float, float, float, float]:
    """Seconds: a plain step, the wait of an asynchronous save, the next step, the wait of a synchronous save."""
    plain = _timed(lambda: _step(placed))
    asynchronous = _timed(lambda: saver.begin(2 * number))
    beside = _timed(lambda: _step(placed))
    saver.finish()
    return plain, asynchronous, beside, _timed(lambda: _save(saver, 2 * number + 1))


def _save(saver: Saver, step: int) -> None:
    saver.begin(step)
    saver.finish()


def _step(placed: Placed) -> None:
    for micro_step in placed.micro_steps:
        tokens = torch.randint(1, SHAPE.vocab_size, (1, SHAPE.max_seq_len + 1))
        placed.backward(next_token_loss(placed.model, tokens, 0).followed, micro_step, is_digested=False)
    placed.reduce()
    placed.refresh()


def _timed(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _discard(_: object) -> None:
    """A thread's result that nobody reads."""


if __name__ == "__main__":
    main()
