from pathlib import Path

from core.config import load
from tests.conftest import run_module
from train.config import TrainConfig
from train.schedule import learning_rate


def test_the_rate_of_every_step_is_printed_as_the_training_uses_it(tiny_recipe: Path) -> None:
    done = run_module("train", "rates", tiny_recipe, "train.steps=6", "train.schedule=linear")
    assert done.returncode == 0, done.stderr
    config = load(str(tiny_recipe), "train", TrainConfig, ["train.steps=6", "train.schedule=linear"])
    assert [float.fromhex(line) for line in done.stdout.split()] == [
        learning_rate(step, config) for step in range(1, 7)
    ]
