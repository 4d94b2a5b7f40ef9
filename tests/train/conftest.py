"""Packed tokens that all tests of training read."""

from pathlib import Path

import pytest

from tests.train.chats import Chats, make_chats
from tests.train.runs import Tiny, pack_once


@pytest.fixture(scope="session")
def tiny(shared_recipe: Path) -> Tiny:
    """The session's tiny recipe with its packed tokens."""
    return pack_once(shared_recipe)


@pytest.fixture(scope="session")
def chats(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Chats:
    """A parent that was trained for two steps, and packs of conversations and of pairs."""
    return make_chats(tiny, tmp_path_factory.mktemp("chats"))
