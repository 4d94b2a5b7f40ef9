"""Chunks have one owner each, whatever the cuts, and their hashes are those of the whole tensors."""

import random
from itertools import pairwise

import torch

from core.merkle import CHUNK_BYTES
from train.checkpoint import state_root
from train.pieces import CHUNK_ELEMENTS, Piece, chunk_hashes, pieces_of, root_of, whole
from train.placed import Span


def cut(count: int, ranks: int, source: random.Random) -> list[Span]:
    """A tensor cut anywhere; some ranks hold nothing of it."""
    edges = [0, *sorted(source.choices(range(count + 1), k=ranks - 1)), count]
    return [Span("w", start, stop) for start, stop in pairwise(edges)]


def test_every_chunk_is_covered_once_by_the_rank_that_holds_its_first_element() -> None:
    source = random.Random(3)
    for _ in range(200):
        count, ranks = source.randint(1, 5 * CHUNK_ELEMENTS), source.randint(1, 6)
        spans = cut(count, ranks, source)
        pieces = pieces_of([[span] for span in spans])
        assert [piece.span.start for piece in pieces] == [0, *[piece.span.stop for piece in pieces[:-1]]]
        assert pieces[-1].span.stop == count
        for piece in pieces:
            assert spans[piece.holder].start <= piece.span.start < piece.span.stop <= spans[piece.holder].stop
            first = piece.span.start // CHUNK_ELEMENTS * CHUNK_ELEMENTS
            assert spans[piece.owner].start <= first < spans[piece.owner].stop


def test_at_most_one_chunk_is_sent_for_a_cut() -> None:
    source = random.Random(4)
    for _ in range(100):
        spans = cut(9 * CHUNK_ELEMENTS + 5, 4, source)
        sent = [piece.span.count for piece in pieces_of([[span] for span in spans]) if piece.holder != piece.owner]
        assert sum(sent) <= 3 * CHUNK_ELEMENTS


def test_what_two_ranks_hold_is_owned_once() -> None:
    both = [Span("w", 0, 10)]
    assert pieces_of([both, both]) == [Piece(Span("w", 0, 10), 0, 0)]


def test_the_root_of_chunks_is_that_of_whole_tensors() -> None:
    source = torch.Generator().manual_seed(1)
    sizes = {"a": 3, "b": CHUNK_BYTES // 4, "c": CHUNK_BYTES // 2 + 1}
    tensors = {name: torch.randn(size, generator=source) for name, size in sizes.items()}
    leaves = {key: leaf for stretch in reversed(whole(tensors)) for key, leaf in stretch.leaves().items()}
    assert root_of(chunk_hashes(leaves)) == state_root(tensors)
    assert {name: len(own) for name, own in chunk_hashes(leaves).items()} == {"a": 1, "b": 1, "c": 3}
