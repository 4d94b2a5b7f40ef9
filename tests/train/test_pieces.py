"""Chunks have one owner each, whatever the cuts, and their hashes are those of the whole tensors."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from core.merkle import CHUNK_BYTES
from core.profile import Attention
from model.init import initialize
from model.transformer import Transformer
from tests.models import small_config
from tests.train.configs import train_config
from train.checkpoint import state_root
from train.parallel import place
from train.pieces import CHUNK_ELEMENTS, Piece, Snapshots, Stretch, chunk_hashes, pieces_of, root_of, whole
from train.placed import Placed, Span
from train.runtime import World

# 20 MB of embedding and as much of head: several stretches each, the last chunk short.
SHAPE = replace(small_config(), dim=64, n_layers=1, n_heads=1, n_kv_heads=1, vocab_size=80_001, max_seq_len=8)


@pytest.fixture
def placed() -> Placed:
    """A model on one rank."""
    model = Transformer(SHAPE, Attention.SDPA)
    initialize(model, seed=1, std=SHAPE.init_std, width_factor=1.0)
    return place(model, world=World(rank=0, size=1, device="cpu"), config=train_config())


def root(stretches: list[Stretch]) -> str:
    return root_of(chunk_hashes({key: leaf for stretch in stretches for key, leaf in stretch.leaves().items()}))


def change(placed: Placed) -> None:
    """What an update does."""
    with torch.no_grad():
        for segment in placed.segments:
            for tensor in (segment.weights, *segment.moments.values()):
                tensor.add_(1.0)


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


def test_what_was_not_read_before_an_update_is_kept_as_it_was(placed: Placed) -> None:
    snapshots = Snapshots(placed, World(rank=0, size=1, device="cpu"))
    before = root(snapshots.take())
    tensors = {segment.span.name: segment.weights for segment in placed.segments}
    tensors |= {f"{kept}.{one.span.name}": own for one in placed.segments for kept, own in one.moments.items()}
    assert before == state_root(tensors)
    taken = snapshots.take()
    leaves = taken[0].leaves()
    taken[0].is_done = True
    snapshots.let_go()
    change(placed)
    leaves |= {key: leaf for stretch in taken[1:] for key, leaf in stretch.leaves().items()}
    assert root_of(chunk_hashes(leaves)) == before
    # The control: the state has changed, and who does not let go reads what is there now.
    careless = snapshots.take()
    after = root(careless)
    change(placed)
    assert len({before, after, root(careless)}) == 3


def test_nothing_is_copied_of_what_was_read_in_time(placed: Placed) -> None:
    snapshots = Snapshots(placed, World(rank=0, size=1, device="cpu"))
    taken = snapshots.take()
    places = [stretch.values.data_ptr() for stretch in taken]
    for stretch in taken[:3]:
        stretch.is_done = True
    snapshots.let_go()
    same = [stretch.values.data_ptr() == place for stretch, place in zip(taken, places, strict=True)]
    assert same == [True] * 3 + [False] * (len(taken) - 3) and len(taken) > 20
