"""Which fault comes when: a pure function of a seed. Classes come in shuffled decks, so that each comes as often."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.seeds import derive_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One fault to come; `seed` is what its target is drawn from."""

    number: int
    name: str
    pause_s: float
    is_hasty: bool
    seed: int


def schedule(
    names: Sequence[str], *, seed: int, every_s: float, hasty_share: float, after: int = 0
) -> Iterator[Planned]:
    """All faults behind the first `after`, without end."""
    number = 0
    while True:
        deck = list(names)
        random.Random(derive_seed(seed, "deck", number)).shuffle(deck)
        for name in deck:
            number += 1
            if number > after:
                yield Planned(
                    number=number,
                    name=name,
                    pause_s=-every_s * math.log1p(-_share(seed, "pause", number)),
                    is_hasty=_share(seed, "hasty", number) < hasty_share,
                    seed=derive_seed(seed, "target", number),
                )


def _share(seed: int, what: str, number: int) -> float:
    return derive_seed(seed, what, number) / 2**64
