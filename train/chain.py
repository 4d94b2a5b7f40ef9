"""From which entries on the keepers' shelves a state can be had again: decisions over their headers. Free of torch.

A base is every rank's whole state after a step, a log every rank's gradients of a step; a set of them counts only if it
is complete. Sets of different generations, numbers of ranks and placements may follow each other, since bits do not
depend on them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BASE, LOG = "base", "log"

Header = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A header, and the shelves that hold its bytes."""

    header: Header
    shelves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """A state that can be had again: the base after step `base`, then the steps of `logs` up to `last`."""

    base: int
    last: int
    bases: list[Entry] = field(default_factory=list)
    logs: dict[int, list[Entry]] = field(default_factory=dict)


def is_void(header: Header, voids: Iterable[tuple[int, int]]) -> bool:
    """Whether an entry was made of steps that were computed wrongly: (generation, step) as in core/kept.py."""
    return any(header["generation"] < generation and header["step"] > step for generation, step in voids)


def complete_sets(found: Mapping[str, Iterable[Header]], *, kind: str) -> dict[int, list[Entry]]:
    """By step, the entries of all ranks, of the newest generation that has a complete set; `found` is by shelf."""
    sets: dict[tuple[int, int], dict[int, tuple[Header, list[str]]]] = {}
    for shelf, headers in found.items():
        for header in headers:
            if header["kind"] == kind:
                own = sets.setdefault((header["step"], header["generation"]), {})
                own.setdefault(header["rank"], (header, []))[1].append(shelf)
    whole = {
        key[0]: [Entry(header, tuple(shelves)) for _, (header, shelves) in sorted(ranks.items())]
        for key, ranks in sorted(sets.items())
        if len(ranks) == next(iter(ranks.values()))[0]["world"]
    }
    return whole


def chains(found: Mapping[str, Iterable[Header]]) -> list[Chain]:
    """The longest chain from every base, the one that reaches furthest first; of those the one with the newest base."""
    bases, logs = complete_sets(found, kind=BASE), complete_sets(found, kind=LOG)
    made = []
    for base, entries in bases.items():
        last = base
        while last + 1 in logs:
            last += 1
        made.append(Chain(base, last, entries, {step: logs[step] for step in range(base + 1, last + 1)}))
    return sorted(made, key=lambda chain: (-chain.last, -chain.base))


def choose_chain(
    found: Sequence[Chain], *, checkpoint: int, last_line: int, is_saved: Callable[[int], bool]
) -> Chain | None:
    """The chain to go on from, or None where the newest sound `checkpoint` on disk reaches as far.

    Lines and checkpoints up to where it begins must be there: `last_line` is the ledger's last step, and a saved step
    whose checkpoint was not committed in time must come behind the base, so that it is saved again.
    """
    for chain in found:
        is_written = chain.base <= max(last_line, checkpoint)
        has_all = not any(is_saved(step) for step in range(checkpoint + 1, chain.base + 1))
        if chain.last > checkpoint and is_written and has_all:
            return chain
    return None
