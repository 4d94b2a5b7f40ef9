"""Section `launch`: all placement, and no drill on a rank that is not there."""

from typing import Any

import pytest

from core.config import identity
from core.errors import ConfigError
from launch.config import LaunchConfig, Starter


def test_nothing_of_it_is_identity() -> None:
    assert identity(LaunchConfig(ranks=2, kill_rank=1, kill_at_step=5)) == {}


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"ranks": 0}, "launch.ranks is 0"),
        ({"max_restarts_without_progress": -1}, "launch.max_restarts_without_progress is -1"),
        ({"nodes": 0}, "launch.nodes is 0"),
        ({"nodes": 2, "min_nodes": 3}, "launch.min_nodes is 3, more than the 2"),
        ({"stall_s": -1.0}, "launch.stall_s is -1.0"),
        ({"kill_at_step": -1}, "launch.kill_at_step is -1"),
        ({"kill_at_step": 5}, "launch.kill_rank -1 is none of the 1 ranks"),
        ({"ranks": 2, "kill_rank": 2, "kill_at_step": 5}, "launch.kill_rank 2 is none of the 2 ranks"),
        ({"allocator": "tcmalloc"}, "launch.allocator is tcmalloc; give off, auto, or the whole path"),
        ({"srun_options": ["--nodes=2"]}, "but launch.starter is torchrun"),
        ({"faults": ["hold@rank=0"]}, "which would not end"),
        ({"starter": Starter.SRUN, "kill_rank": 0, "kill_at_step": 5}, "srun's may be elsewhere"),
    ],
)
def test_what_cannot_be_done_is_refused(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        LaunchConfig(**wrong)


def test_a_rank_named_without_a_step_is_no_drill() -> None:
    assert not LaunchConfig(ranks=1, kill_rank=1).is_drill
