"""The promise over a grid: any number of ranks, any placement, any step's shape, killed anywhere, going on anyhow.

Every part of a run may save as it likes; a run may be measured on held-out text on the way.
Cases are drawn from their number, so a case that fails is the same again. WHOLEGRAIN_PLACEMENT_CASES=n tries the first
n of them instead of a few.
"""

import os
import random
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.train.configs import train_config
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, events, finished_folder, result_of
from train.config import Placement, Save, TrainConfig
from train.run import main
from train.starter import working_ranks

CASES = int(os.environ.get("WHOLEGRAIN_PLACEMENT_CASES", "3"))
STEPS, SAVED_EVERY, EVALUATED_EVERY = 9, 2, 4

INSTALLED = [one for one in Placement if not one.deepspeed_stage or find_spec("deepspeed")]


@dataclass(frozen=True)
class Layout:
    """How many ranks are started, and how they lie."""

    started: int
    placement: Placement
    node_ranks: int
    is_resharded: bool
    is_offloaded: bool
    save: Save

    def config(self, micro_batches: int) -> TrainConfig:
        """Section `train`, as far as the number of ranks at work depends on it."""
        return train_config(micro_batches=micro_batches, placement=self.placement, node_ranks=self.node_ranks)

    def overrides(self) -> list[str]:
        """On the command line."""
        given = {"placement": self.placement.value, "save": self.save.value}
        given |= {"node_ranks": str(self.node_ranks)} if self.node_ranks else {}
        given |= {} if self.is_resharded else {"is_resharded": "false"}
        given |= {"is_optimizer_offloaded": "true"} if self.is_offloaded else {}
        return [f"train.{name}={value}" for name, value in given.items()]


@dataclass(frozen=True)
class Case:
    """A run in parts: each but the last has a rank killed after a step."""

    micro_batches: int
    micro_batch: int
    optimizer: str
    is_evaluated: bool
    parts: tuple[Layout, ...]
    kills: tuple[tuple[int, int], ...]


def draw(number: int) -> Case:
    """The case of a number."""
    random_ = random.Random(f"placements {number}")
    micro_batches = random_.randint(1, 11)
    parts = tuple(draw_layout(random_) for _ in range(random_.randint(2, 3)))
    working = [working_ranks(part.config(micro_batches), started=part.started, local=part.started)[0] for part in parts]
    steps = sorted(random_.randint(1, STEPS - 4) for _ in parts[1:])
    return Case(
        micro_batches=micro_batches,
        micro_batch=random_.randint(1, 3),
        optimizer=random_.choice(["adamw", "muon"]),
        is_evaluated=random_.random() < 0.5,
        parts=parts,
        kills=tuple((random_.randrange(count), step) for count, step in zip(working, steps, strict=False)),
    )


def draw_layout(random_: random.Random) -> Layout:
    """Any placement that is installed."""
    placement = random_.choice(INSTALLED)
    is_sharded = placement in (Placement.FSDP2, Placement.HSDP)
    return Layout(
        started=random_.randint(1, 5),
        placement=placement,
        node_ranks=random_.randint(1, 3) if placement is Placement.HSDP else 0,
        is_resharded=not is_sharded or random_.random() < 0.5,
        is_offloaded=placement.deepspeed_stage > 0 and random_.random() < 0.5,
        save=random_.choice(list(Save)),
    )


@pytest.mark.parametrize("number", range(CASES))
def test_any_way_through_a_run_gives_the_artifact_of_one_process(number: int, measured: Tiny, tmp_path: Path) -> None:
    case = draw(number)
    shape = (
        *(f"train.micro_batches={case.micro_batches}", f"train.micro_batch={case.micro_batch}"),
        *(f"train.optimizer={case.optimizer}", f"train.steps={STEPS}", f"train.save_every_steps={SAVED_EVERY}"),
        *((f"train.eval_every_steps={EVALUATED_EVERY}",) if case.is_evaluated else ()),
    )
    whole = run_ranks(1, main, [measured.arguments(tmp_path / "whole", *shape)], notes=tmp_path / "notes")
    assert whole.exit_codes == [0], whole.messages
    for part, kill in zip(case.parts, (*case.kills, None), strict=True):
        arguments = measured.arguments(tmp_path / "parts", *shape, *part.overrides())
        ended = run_ranks(part.started, main, [arguments], notes=tmp_path / "notes", kill=kill)
        if kill:
            assert ended.exit_codes[kill[0]] == -9, (case, ended)
            assert set(ended.exit_codes) <= {-9, 75, 0}, (case, ended)
        else:
            assert ended.exit_codes == [0] * part.started, (case, ended)
    assert result_of(tmp_path / "parts") == result_of(tmp_path / "whole"), case
    assert len(events(finished_folder(tmp_path / "parts"), "run.started")) == len(case.parts)


def test_the_cases_draw_every_placement_way_to_save_and_ranks_without_work() -> None:
    cases = [draw(number) for number in range(60)]
    layouts = [(case, part) for case in cases for part in case.parts]
    wanted = {(placement, save) for placement in INSTALLED for save in Save}
    assert {(part.placement, part.save) for _, part in layouts} == wanted
    assert {(case.optimizer, case.is_evaluated) for case in cases} == {
        (optimizer, is_evaluated) for optimizer in ("adamw", "muon") for is_evaluated in (False, True)
    }
    assert {part.placement for _, part in layouts if part.is_offloaded} == {
        placement for placement in INSTALLED if placement.deepspeed_stage
    }
    assert any(part.started > case.micro_batches for case, part in layouts)
    assert {case.micro_batches for case in cases} == set(range(1, 12))
