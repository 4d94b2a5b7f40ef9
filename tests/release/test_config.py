from pathlib import Path

import pytest

from core.errors import ConfigError
from release.config import ReleaseConfig, check_name
from tests.conftest import run_module


def test_values_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="give at least 1"):
        ReleaseConfig(checkpoint_every_steps=0)
    with pytest.raises(ConfigError, match=r"release\.license is empty"):
        ReleaseConfig(checkpoint_every_steps=1, license=" ")


def test_check_is_silent_or_names_the_key(tiny_recipe: Path) -> None:
    done = run_module("release", "check", tiny_recipe)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run_module("release", "check", tiny_recipe, "release.checkpoint_evry_steps=3")
    assert done.returncode == 64
    assert "checkpoint_evry_steps" in done.stderr


@pytest.mark.parametrize("name", ["witness", "../up", "a/b", ".hidden", ""])
def test_a_name_that_cannot_be_a_bundles_folder_is_refused(name: str) -> None:
    check_name("smoke-1.0")
    with pytest.raises(ConfigError, match=r"is to be the bundle's folder"):
        check_name(name)
