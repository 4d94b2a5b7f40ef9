"""What the ranks find in their environment."""

from pathlib import Path

import pytest

from core.allocator import PRELOAD, find_tcmalloc
from core.errors import ConfigError
from launch.config import LaunchConfig, Starter
from launch.starters import ENVIRONMENT, environment_of
from tests.allocators import strange_allocator
from tests.launch.conftest import House, wait_until


def test_nothing_is_preloaded_unless_it_is_asked_for() -> None:
    assert environment_of(LaunchConfig()) == ENVIRONMENT


def test_auto_preloads_tcmalloc_where_it_is_found() -> None:
    found, environment = find_tcmalloc(), environment_of(LaunchConfig(allocator="auto"))
    assert environment.get(PRELOAD, "").partition(":")[0] == str(found or "")


def test_a_library_that_is_not_there_is_refused_unless_the_ranks_are_elsewhere(tmp_path: Path) -> None:
    path = str(tmp_path / "none.so")
    with pytest.raises(ConfigError, match="there is no such library; give auto or off"):
        environment_of(LaunchConfig(allocator=path))
    elsewhere = environment_of(LaunchConfig(allocator=path, starter=Starter.SRUN))
    assert elsewhere[PRELOAD].partition(":")[0] == path


def test_the_ranks_are_started_with_the_library_and_other_stages_are_not(house: House, tmp_path: Path) -> None:
    library = strange_allocator(tmp_path)
    (house.root / "hold").touch()
    house.start("launch", str(house.recipe), "train.hold_at=1", f"launch.allocator={library}")

    def ranks() -> list[int]:
        return [pid for pid in house.alive() if b"\0train\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    wait_until(lambda: len(ranks()) == 3, "torchrun and two ranks are at work")
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in house.alive()]
    assert sum(str(library) in one for one in maps) == 3, "of the launcher, torchrun and two ranks"
