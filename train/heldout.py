"""The loss on held-out text between steps: what is measured, and how the ranks share it.

Batch k, of the shape of a micro-batch, is computed on rank k mod W, by the kernels of training; what it gives is moved
to all ranks unchanged and added exactly, so neither the number of ranks nor the placement leaves a trace. Text alone is
measured: every token of a document that is no mark is a target once, with what its window holds of the document before
it; of a conversation, what the assistant says and its end. So a document that is longer than a window costs more here
than in stage evaluate, whose windows overlap.
"""

import math
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import DeterministicError
from data.heldout import Heldout
from model.transformer import counted_loss, text_loss
from train.fsdp2 import interleaved
from train.placed import Placed
from train.runtime import World

LN2 = 0.6931471805599453
# A batch's result, a double, as an int64 word.
RESULT, WORD = struct.Struct("<d"), struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Score:
    """Nats a token of text, and bits a byte of it: loss * tokens / (ln 2 * bytes), in doubles from left to right."""

    loss: float
    bits_per_byte: float

    @classmethod
    def of(cls, nats: float, *, text_tokens: int, text_bytes: int) -> "Score":
        """The two of a sum of nats."""
        loss = nats / text_tokens
        return cls(loss, loss * text_tokens / (LN2 * text_bytes))

    def plain(self) -> dict[str, str]:
        """As hex floats, nothing rounded."""
        return {"loss": self.loss.hex(), "bits_per_byte": self.bits_per_byte.hex()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What a step's weights give on held-out text, the same on every rank but for the time. `root` says which text."""

    root: str
    total: Score
    sources: Mapping[str, Score]
    seconds: float

    def plain(self) -> dict[str, Any]:
        """What stands in the ledger."""
        sources = {name: score.plain() for name, score in self.sources.items()}
        return {"heldout": self.root, **self.total.plain(), "sources": sources}


def score(heldout: Heldout, *, placed: Placed, world: World, step: int) -> Scores:
    """Measure the weights as they are; all ranks call it together, and training goes on as if they had not.

    Raises DeterministicError if a loss is not finite.
    """
    started = time.perf_counter()
    nats = _batches(heldout, placed=placed, world=world)
    bad = [value for value in nats if not math.isfinite(value)]
    if bad:
        raise DeterministicError(f"step {step}: the loss on held-out text is {bad[0]}; lower train.lr")
    sources = {}
    for place, source in enumerate(heldout.sources):
        own = [value for value, batch in zip(nats, heldout.batches, strict=True) if batch.source == place]
        # fsum is correctly rounded whatever the order.
        sources[source.name] = Score.of(math.fsum(own), text_tokens=source.text_tokens, text_bytes=source.text_bytes)
    total = Score.of(
        math.fsum(nats),
        text_tokens=sum(source.text_tokens for source in heldout.sources),
        text_bytes=sum(source.text_bytes for source in heldout.sources),
    )
    return Scores(root=heldout.root, total=total, sources=sources, seconds=time.perf_counter() - started)


@torch.no_grad()
def _batches(heldout: Heldout, *, placed: Placed, world: World) -> Sequence[float]:
    """The nats of all batches, by number. Every rank runs as many forwards, since a sharded one needs all ranks."""
    words = torch.zeros(len(heldout.batches), dtype=torch.int64)
    for turn in interleaved(range(len(heldout.batches)), rank=world.rank, world_size=world.size):
        tokens_BT1 = torch.from_numpy(heldout.batch(turn.index)).to(world.device)
        nats = float(_nats(placed.model, tokens_BT1, heldout.counted(turn.index), heldout=heldout))
        if not turn.is_dummy:
            words[turn.index] = WORD.unpack(RESULT.pack(nats))[0]
    placed.settle()
    # Every word is zero on all ranks but one: the sum only moves it.
    world.add_integers(words)
    return [RESULT.unpack(WORD.pack(word))[0] for word in words.tolist()]


def _nats(model: nn.Module, tokens_BT1: Tensor, counted: Any, *, heldout: Heldout) -> Tensor:
    """The sum over a batch's targets: those of text, or of a conversation those that count, a bool array [B, T]."""
    if counted is None:
        return text_loss(model, tokens_BT1, bos_id=heldout.bos_id, eos_id=heldout.eos_id)
    counted_BT = torch.from_numpy(counted).to(tokens_BT1.device)
    return counted_loss(model, tokens_BT1, counted_BT, bos_id=heldout.bos_id).told
