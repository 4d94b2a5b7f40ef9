"""Whole matrices out of the ranks' pieces, and back: each matrix on one rank, whatever the placement cut."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from train.config import Optimizer
from train.placed import Placed, Span
from train.runtime import World


class Owners:
    """Which rank takes which of Muon's matrices, and who has which pieces of them."""

    def __init__(self, placed: Placed, world: World) -> None:
        self._world = world
        names = {name for name, group in placed.groups.items() if group.optimizer is Optimizer.MUON}
        # Those of the whole model: what a rank holds of a parameter may have another shape.
        self.shapes = {name: shape for name, shape in placed.shapes.items() if name in names}
        self._owner = assign(self.shapes, ranks=world.size)
        self._spans = [[span for span in placed.spans(rank) if span.name in names] for rank in range(world.size)]

    def transform(self, pieces: Sequence[Tensor], act: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """`act` on every matrix, whole; takes and returns this rank's pieces, in the order of its spans.

        Every rank calls it, those without a piece too.
        """
        if not self.shapes:
            return []
        rank, ranks = self._world.rank, range(self._world.size)
        own = dict(zip(self._spans[rank], pieces, strict=True))
        sent = [self._between(rank, owner) for owner in ranks]
        taken = [self._between(holder, rank) for holder in ranks]
        received = self._world.exchange(
            _joined([own[span] for span in chain.from_iterable(sent)]), sent=_counts(sent), received=_counts(taken)
        )
        whole = _assemble(list(chain.from_iterable(taken)), received)
        done = {name: act(flat.view(self.shapes[name])).reshape(-1) for name, flat in whole.items()}
        back = self._world.exchange(
            _joined([done[span.name][span.start : span.stop] for span in chain.from_iterable(taken)]),
            sent=_counts(taken),
            received=_counts(sent),
        )
        spans = list(chain.from_iterable(sent))
        turned = dict(zip(spans, back.split_with_sizes([span.count for span in spans]), strict=True))
        return [turned[span] for span in self._spans[rank]]

    def _between(self, holder: int, owner: int) -> list[Span]:
        """What a rank holds of an owner's matrices."""
        return [span for span in self._spans[holder] if self._owner[span.name] == owner]


def assign(shapes: Mapping[str, Sequence[int]], *, ranks: int) -> dict[str, int]:
    """An owner for every matrix: the largest first, each to the rank that has least to do so far."""
    load = [0] * ranks
    owners = {}
    for name in sorted(shapes, key=lambda name: (-_work(shapes[name]), name)):
        owners[name] = min(range(ranks), key=lambda rank: (load[rank], rank))
        load[owners[name]] += _work(shapes[name])
    return owners


def _work(shape: Sequence[int]) -> int:
    """Multiplications of one iteration, but for a factor."""
    return min(shape) ** 2 * max(shape)


def _assemble(spans: Sequence[Span], values: Tensor) -> dict[str, Tensor]:
    """Flat matrices by name, from pieces that cover them."""
    pieces = values.split_with_sizes([span.count for span in spans])
    found: dict[str, list[Tensor]] = {}
    for span, piece in sorted(zip(spans, pieces, strict=True), key=lambda pair: pair[0].start):
        found.setdefault(span.name, []).append(piece)
    return {name: torch.cat(parts) for name, parts in found.items()}


def _counts(spans: Sequence[Sequence[Span]]) -> list[int]:
    return [sum(span.count for span in own) for own in spans]


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(pieces)) if pieces else torch.empty(0)
