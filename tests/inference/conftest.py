"""A run with a checkpoint, made once; a test that changes something works on its own copy."""

import shutil
from pathlib import Path

import pytest

from core.config import load
from model.config import ModelConfig
from tests.checkpoints import FINAL, write_run


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a run with clean, tokenizer and train artifacts."""
    return write_run(tmp_path_factory.mktemp("inference"))


@pytest.fixture(scope="session")
def config(recipe: Path) -> ModelConfig:
    """The shape of that run's model."""
    return load(str(recipe), "model", ModelConfig)


@pytest.fixture
def checkpoint(recipe: Path, tmp_path: Path) -> Path:
    """A copy of that run's checkpoint."""
    (train,) = recipe.parent.glob("runs/train-*")
    return Path(shutil.copytree(train / FINAL, tmp_path / "checkpoint"))
