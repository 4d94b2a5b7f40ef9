"""Work over threads: every item once, in order, on as many threads as the profile has; failures come out."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from core.merkle import CHUNK_BYTES, chunk_root
from train.placed import content_roots
from train.threads import in_threads, slices


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """So many threads of torch for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_every_item_is_done_once_and_results_keep_their_order(threads: int, count: int) -> None:
    with with_threads(threads):
        assert in_threads(lambda item: 2 * item, list(range(count))) == [2 * item for item in range(count)]


def test_all_threads_work_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=120)
    with with_threads(3):
        # Nobody gets past it alone.
        assert sorted(in_threads(lambda _: meeting.wait(), [0, 1, 2])) == [0, 1, 2]


def test_a_failure_in_another_thread_comes_out() -> None:
    with with_threads(2), pytest.raises(ZeroDivisionError):
        in_threads(lambda item: 1 // item, [1, 0])


def test_a_forked_process_has_threads_of_its_own() -> None:
    with with_threads(2):
        in_threads(str, [1, 2])
        child = os.fork()
        if child == 0:
            os._exit(0 if in_threads(str, [1, 2]) == ["1", "2"] else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_slices_cover_everything_and_none_is_short() -> None:
    with with_threads(3):
        assert slices(10, least=4) == [slice(0, 5), slice(5, 10)]
        assert slices(0, least=4) == [slice(0, 0)]
        assert [part.stop - part.start for part in slices(100, least=1)] == [33, 33, 34]


def test_roots_of_gradients_are_the_same_on_any_number_of_threads() -> None:
    tensors = {"b": torch.randn(CHUNK_BYTES), "a": torch.randn(3), "none": torch.empty(0)}
    by_hand = {name: chunk_root(memoryview(tensor.numpy().tobytes())) for name, tensor in tensors.items()}
    for threads in (1, 2, 3):
        with with_threads(threads):
            assert content_roots(tensors) == by_hand
