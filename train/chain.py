"""From which entries on the keepers' shelves a state can be had again: decisions over their headers. Free of torch.

A base is every rank's whole state after a step, a log every rank's gradients of a step; a set of them counts only if it
is complete. Sets of different generations, numbers of ranks and placements may follow each other, since bits do not
depend on them. Where the spike policy has gone back, the steps that it made void are on the shelves too; an entry's
`returns` is how often it had before, and the first step behind a return says so.
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


def complete_sets(found: Mapping[str, Iterable[Header]], *, kind: str) -> dict[int, dict[int, list[Entry]]]:
    """By step and number of returns, the entries of all ranks; `found` is by shelf.

    They are of the newest generation that has a complete set.
    """
    sets: dict[tuple[int, int, int], dict[int, tuple[Header, list[str]]]] = {}
    for shelf, headers in found.items():
        for header in headers:
            if header["kind"] == kind:
                own = sets.setdefault((header["step"], header.get("returns", 0), header["generation"]), {})
                own.setdefault(header["rank"], (header, []))[1].append(shelf)
    whole: dict[int, dict[int, list[Entry]]] = {}
    for (step, returns, _), ranks in sorted(sets.items(), key=lambda item: item[0]):
        if len(ranks) == next(iter(ranks.values()))[0]["world"]:
            entries = [Entry(header, tuple(shelves)) for _, (header, shelves) in sorted(ranks.items())]
            whole.setdefault(step, {})[returns] = entries
    return whole


def chains(found: Mapping[str, Iterable[Header]]) -> list[Chain]:
    """The longest chain from every base, the one that reaches furthest first; of those the one with the newest base."""
    bases, logs = complete_sets(found, kind=BASE), complete_sets(found, kind=LOG)
    made = []
    for base, versions in bases.items():
        for returns, entries in versions.items():
            path = _path(logs, base=base, returns=returns)
            made.append(Chain(base, base + len(path), entries, path))
    return sorted(made, key=lambda chain: (-chain.last, -chain.base))


def _path(logs: Mapping[int, Mapping[int, list[Entry]]], *, base: int, returns: int) -> dict[int, list[Entry]]:
    """The steps behind a base, as they were taken last: behind its return, where the run has gone back to a step."""
    path: dict[int, list[Entry]] = {}
    while True:
        step = base + len(path) + 1
        versions = logs.get(step, {})
        following = [at for at in versions if at == returns or (at > returns and _is_return(versions[at]))]
        if not following:
            return path
        returns = max(following)
        path[step] = versions[returns]


def _is_return(entries: Sequence[Entry]) -> bool:
    return bool(entries[0].header["numbers"]["returned"])


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
