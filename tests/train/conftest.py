"""Packed tokens that all tests of training read."""

from pathlib import Path

import pytest

from tests.train.runs import Tiny, pack_once


@pytest.fixture(scope="session")
def tiny(shared_recipe: Path) -> Tiny:
    """The session's tiny recipe with its packed tokens."""
    return pack_once(shared_recipe)
