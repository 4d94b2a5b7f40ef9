"""Section train: what it refuses, and that placement is no part of its identity."""

from pathlib import Path

import pytest

from core.config import identity, load
from core.errors import ConfigError
from train.config import TrainConfig


def section(recipe: Path, *overrides: str) -> TrainConfig:
    return load(str(recipe), "train", TrainConfig, overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.steps=0", "train.steps is 0; it must be at least 1"),
        ("train.micro_batches=-1", "train.micro_batches is -1; it must be at least 1"),
        ("train.lr=0", "train.lr is 0.0; it must be above 0"),
        ("train.lr=nan", "train.lr is nan; it must be above 0"),
        ("train.beta2=1.0", "train.beta2 is 1.0; it must be at least 0 and below 1"),
        ("train.min_lr=1", "train.min_lr is 1.0; it must lie between 0 and train.lr 0.01"),
        ("train.warmup_steps=12", "train.warmup_steps is 12; it must be at least 0 and below train.steps 12"),
        ("train.weight_decay=-0.1", "train.weight_decay is -0.1; it must be at least 0"),
        ("train.sum=slow", "slow"),
        ("train.placment=zero1", "placment"),
    ],
)
def test_a_wrong_value_is_one_clear_line(tiny_recipe: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        section(tiny_recipe, override)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_placement_is_not_identity_and_the_sum_is(tiny_recipe: Path) -> None:
    ours = identity(section(tiny_recipe))
    assert identity(section(tiny_recipe, "train.placement=fsdp2", "train.wandb=offline", "train.timeout_s=5")) == ours
    assert identity(section(tiny_recipe, "train.sum=fast")) != ours
    assert identity(section(tiny_recipe, "train.save_every_steps=3")) != ours


def test_which_steps_are_saved_kept_and_digested(tiny_recipe: Path) -> None:
    config = section(
        tiny_recipe,
        "train.steps=10",
        "train.save_every_steps=2",
        "train.keep_every_steps=4",
        "train.grad_digest_every_steps=5",
    )
    steps = range(1, 11)
    assert [step for step in steps if config.is_saved(step)] == [2, 4, 6, 8, 10]
    assert [step for step in steps if config.is_kept(step)] == [4, 8, 10]
    assert [step for step in steps if config.is_digested(step)] == [5, 10]
