"""A run that is killed after every one of its steps ends as one that is never killed, bit for bit."""

from pathlib import Path

import pytest

from tests.cuts import Cut
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, events, finished_folder, result_of
from train.run import main

STEPS = 6
SHORT = (f"train.steps={STEPS}", "train.save=sync", "train.scrub_every_s=0")


@pytest.mark.parametrize("saved_every", [1, 3])
def test_a_kill_after_every_step_leaves_no_trace(saved_every: int, tiny: Tiny, tmp_path: Path) -> None:
    shape = (*SHORT, f"train.save_every_steps={saved_every}")
    whole = run_ranks(1, main, [tiny.arguments(tmp_path / "whole", *shape)], notes=tmp_path / "notes")
    assert whole.exit_codes == [0], whole.messages
    starts = []
    for step in range(1, STEPS + 1):
        starts.append((step - 1) // saved_every * saved_every)
        how = "train.placement=fsdp2" if step % 2 else "train.placement=zero1"
        # A rank leaves a beat behind a step that is written down and, if it is a saved one, committed; it touches the
        # beat twice.
        cut = Cut("rank0.beat", 2 * (step - starts[-1]) - 1)
        ended = run_ranks(1, main, [tiny.arguments(tmp_path / "cut", *shape, how)], notes=tmp_path / "notes", cut=cut)
        assert ended.exit_codes == [-9], (step, ended)
    last = run_ranks(1, main, [tiny.arguments(tmp_path / "cut", *shape)], notes=tmp_path / "notes")
    assert last.exit_codes == [0], last.messages
    assert result_of(tmp_path / "cut") == result_of(tmp_path / "whole")
    assert begun_at(finished_folder(tmp_path / "cut")) == [*starts, STEPS]


def begun_at(folder: Path) -> list[int]:
    """From which step every generation went on."""
    told = [*events(folder, "run.begun"), *events(folder, "run.resumed")]
    return [event["step"] for event in sorted(told, key=lambda event: event["generation"])]
