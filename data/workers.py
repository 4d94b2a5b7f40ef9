"""A map over one or several processes, for work on documents that does not depend on who does it."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Any

from core.notes import die_with_parent

BATCH_DOCUMENTS = 500

Mapped = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]


@contextmanager
def mapping(workers: int) -> Iterator[Mapped]:
    """A map that keeps the order, in as many processes. They start by forkserver: fork after threads may hang."""
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver"), initializer=_start_worker) as pool:
        yield partial(pool.map, chunksize=BATCH_DOCUMENTS)


def _start_worker() -> None:
    """A worker dies with its parent and leaves an interrupt to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent()
