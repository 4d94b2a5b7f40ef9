"""As many threads as the profile gives a rank, for what torch does not share out: hashes, and our loops in C.

Both let go of Python's lock. Only what has the same bits at any cut comes here, so the number of threads is seen in
nothing but time.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

from train.canonical import contiguous_ranges

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(act: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What `act` gives of every item, in their order; each thread takes a contiguous share of them."""
    threads = min(torch.get_num_threads(), len(items))
    if threads <= 1:
        return [act(item) for item in items]
    others = [
        _pool(os.getpid(), torch.get_num_threads()).submit(_each, act, items[slice(*share)])
        for share in contiguous_ranges(len(items), threads)[1:]
    ]
    results = _each(act, items[: len(items) // threads])
    for other in others:
        results += other.result()
    return results


def slices(count: int, *, least: int) -> list[slice]:
    """A slice of `count` elements for every thread, none shorter than `least` if there are several."""
    parts = max(1, min(torch.get_num_threads(), count // least))
    return [slice(*share) for share in contiguous_ranges(count, parts)]


def _each(act: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [act(item) for item in items]


@cache
def _pool(_process: int, threads: int) -> ThreadPoolExecutor:
    """The threads of this process: those of the one that it was forked from are not here."""
    return ThreadPoolExecutor(max_workers=threads, thread_name_prefix="share")
