"""DeepSpeed's engine, with our sum and our rule, gives the bits of every other placement."""

from pathlib import Path

from tests.train import deepspeed_runs
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, result_of
from train.run import main

SHORT = ("train.steps=3", "train.warmup_steps=1", "train.save_every_steps=2", "train.micro_batches=5")


@deepspeed_runs.needs_deepspeed
def test_every_stage_gives_the_artifact_of_zero1_at_any_world_size(tiny: Tiny, tmp_path: Path) -> None:
    ended = run_ranks(1, main, [tiny.arguments(tmp_path / "plain", *SHORT)], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    for world_size in (1, 2, 3):
        outs = {stage: tmp_path / f"{world_size}-{stage}" for stage in (1, 2, 3)}
        runs = [tiny.arguments(out, f"train.placement=deepspeed{stage}", *SHORT) for stage, out in outs.items()]
        ended = run_ranks(world_size, deepspeed_runs.main, runs, notes=tmp_path / f"notes-{world_size}")
        assert ended.exit_codes == [0] * world_size, ended.messages
        assert {result_of(out) for out in outs.values()} == {result_of(tmp_path / "plain")}
