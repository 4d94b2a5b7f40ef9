"""A small model that the tests of model/ share."""

import pytest

from model.config import ModelConfig
from tests.models import small_config


@pytest.fixture
def config() -> ModelConfig:
    """Two layers, four query heads over two key-value heads."""
    return small_config()
