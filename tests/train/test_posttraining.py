"""SFT and preferences are runs like any: the same bits at any placement, world size and kill, replayed and refused."""

from pathlib import Path
from typing import Any

import pytest

from core.ledger import read_lines
from tests.train.chats import Chats, make_chats
from tests.train.ranks import run_ranks
from tests.train.runs import Result, Tiny, finished_folder, result_of
from train.config import Objective
from train.run import main

OBJECTIVES = (Objective.SFT, Objective.PREFERENCE)
PLACES = ((1, "zero1"), (1, "fsdp2"), (2, "replicated"), (2, "fsdp2"), (3, "zero1"))


@pytest.fixture(scope="module")
def chats(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Chats:
    return make_chats(tiny, tmp_path_factory.mktemp("chats"))


@pytest.fixture(scope="module")
def runs(chats: Chats, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Objective, int, str], Path]:
    """The folder of every objective's run at every place."""
    root = tmp_path_factory.mktemp("posttraining")
    found: dict[tuple[Objective, int, str], Path] = {}
    for world_size in (1, 2, 3):
        wanted = [(objective, how) for objective in OBJECTIVES for size, how in PLACES if size == world_size]
        outs = [root / f"{objective.value}-{world_size}-{how}" for objective, how in wanted]
        lines = [
            chats.arguments(out, objective, f"train.placement={how}")
            for out, (objective, how) in zip(outs, wanted, strict=True)
        ]
        ended = run_ranks(world_size, main, lines, notes=root / f"notes{world_size}")
        assert ended.exit_codes == [0] * world_size, ended.messages
        found |= {(objective, world_size, how): out for out, (objective, how) in zip(outs, wanted, strict=True)}
    return found


def steps_of(out: Path) -> list[dict[str, Any]]:
    return read_lines(finished_folder(out) / "ledger.jsonl")[1:]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_bits_are_those_of_one_rank_at_every_placement(
    runs: dict[tuple[Objective, int, str], Path], objective: Objective
) -> None:
    results: dict[tuple[int, str], Result] = {place: result_of(runs[objective, *place]) for place in PLACES}
    assert len(set(results.values())) == 1, results
