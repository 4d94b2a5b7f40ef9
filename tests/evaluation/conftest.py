"""A run with a checkpoint, made once; tests only read it."""

from pathlib import Path

import pytest

from tests.checkpoints import write_run


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe of a run with clean, tokenizer and train artifacts."""
    return write_run(tmp_path_factory.mktemp("evaluation"))
