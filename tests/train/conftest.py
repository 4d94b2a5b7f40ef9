"""Packed tokens that all tests of training read."""

from pathlib import Path

import pytest

from tests.conftest import run_module
from tests.train.chats import Chats, make_chats
from tests.train.runs import Tiny, pack_once

HELDOUT_TOKENS = 700


@pytest.fixture(scope="session")
def tiny(shared_recipe: Path) -> Tiny:
    """The session's tiny recipe with its packed tokens."""
    return pack_once(shared_recipe)


@pytest.fixture(scope="session")
def measured(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny recipe with held-out tokens in its pack."""
    out = tmp_path_factory.mktemp("heldout")
    places = (f"run.out={out}", f"run.inputs={tiny.inputs}", f"pack.heldout_tokens={HELDOUT_TOKENS}")
    made = run_module("data", "pack", tiny.recipe, *places)
    assert made.returncode == 0, made.stderr
    return Tiny(tiny.recipe, out)


@pytest.fixture(scope="session")
def chats(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Chats:
    """A parent that was trained for two steps, and packs of conversations and of pairs."""
    return make_chats(tiny, tmp_path_factory.mktemp("chats"))
