"""Self-test of what ranks send each other: two processes of this machine, in a group of their own.

Every placement rests on two things: an all-to-all that moves values unchanged, and sums of integers, which have no
order. Both are done a few times and held against what one process makes of the same values. Reads and writes nothing
but a file in which the two meet.
"""

import multiprocessing
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor

from train.runtime import World, open_group
from train.selftests import Finding, is_same, values

SIZE = 2
ROUNDS = 3
ELEMENTS = 10_007
# Of rank r's values, how many go to rank 0; the cuts are uneven, as those of a placement are.
TO_FIRST = (3_001, 9_973)
# Only a hang takes so long.
DEADLINE_S = 120.0
Told = tuple[bool, bool]


def collective_findings(world_type: type[World] = World) -> list[Finding]:
    """Whether two ranks get what one process computes, each time. `world_type` is what a rank speaks through."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(SIZE)]
        ranks = [
            context.Process(target=_be_rank, args=(rank, Path(folder) / "meeting", answer, world_type), daemon=True)
            for rank, (_, answer) in enumerate(pipes)
        ]
        for rank, (_, answer) in zip(ranks, pipes, strict=True):
            rank.start()
            answer.close()
        told = [_answer(here) for here, _ in pipes]
        for rank in ranks:
            rank.kill()
            rank.join()
    return [
        _judge("all-to-all of floats", [None if one is None else one[0] for one in told]),
        _judge("sum of integers", [None if one is None else one[1] for one in told]),
    ]


def expected_exchange(rank: int) -> Tensor:
    """What comes to a rank, by one process alone."""
    parts = [
        values(ELEMENTS, seed=sender).split_with_sizes([cut, ELEMENTS - cut]) for sender, cut in enumerate(TO_FIRST)
    ]
    return torch.cat([part[rank] for part in parts])


def expected_sum() -> Tensor:
    """The integers' sum, by one process alone."""
    return torch.stack([_integers(rank) for rank in range(SIZE)]).sum(0)


def _be_rank(rank: int, meeting: Path, answer: Connection, world_type: type[World]) -> None:
    torch.set_num_threads(1)
    with open_group(meeting, rank=rank, size=SIZE, timeout_s=DEADLINE_S):
        answer.send(_tried(world_type(rank=rank, size=SIZE, device="cpu")))


def _tried(world: World) -> Told:
    """Whether every exchange and every sum gave what one process gives."""
    cuts = [(cut, ELEMENTS - cut) for cut in TO_FIRST]
    received = [cut[world.rank] for cut in cuts]
    is_exchanged = is_added = True
    for _ in range(ROUNDS):
        came = world.exchange(values(ELEMENTS, seed=world.rank), sent=cuts[world.rank], received=received)
        is_exchanged &= is_same([came], [expected_exchange(world.rank)])
        total = _integers(world.rank)
        world.add_integers(total)
        is_added &= is_same([total], [expected_sum()])
    return is_exchanged, is_added


def _integers(rank: int) -> Tensor:
    """int64 values of up to 2^40, as the norm's limbs are."""
    return (values(ELEMENTS, seed=rank) * float(1 << 37)).long()


def _answer(pipe: Connection) -> Told | None:
    """What a rank tells, or None if it ends or hangs without a word."""
    try:
        told: Told | None = pipe.recv() if pipe.poll(DEADLINE_S) else None
    except EOFError:
        return None
    return told


def _judge(check: str, told: list[bool | None]) -> Finding:
    name = f"{check}, {SIZE} processes: one process's values"
    if None in told:
        return Finding(name, "FAIL", f"rank {told.index(None)} gave no answer; its reason stands above")
    return Finding(name, "PASS", "same bits") if all(told) else Finding(name, "FAIL", "other bits")
