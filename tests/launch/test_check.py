"""A recipe is checked whole before anything starts."""

from pathlib import Path

import pytest

from core.errors import ConfigError
from launch.stages import read_stages
from tests.conftest import run_module
from tests.launch.conftest import House


def test_mistakes_in_the_sections_of_two_folders_are_told_at_once_and_nothing_starts(tiny_recipe: Path) -> None:
    done = run_module("launch", "run", tiny_recipe, "export.kind=odd", "train.stpes=4")
    assert done.returncode == 64 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "section export" in line and "section train: Key 'stpes'" in line
    assert not (tiny_recipe.parent / "runs").exists()


def test_a_sound_recipe_passes_in_silence(tiny_recipe: Path) -> None:
    done = run_module("launch", "check", tiny_recipe)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_mistake_in_the_last_section_is_found_before_the_first_stage_starts(house: House) -> None:
    assert house.run("train.stpes=4").returncode == 64
    assert not house.out.exists()


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("launch.ranks=0", "launch.ranks is 0"),
        ("launch.rank=2", "Key 'rank' not in 'LaunchConfig'"),
        ("run.inputs=/elsewhere", "run.inputs is /elsewhere"),
        ("lunch.ranks=2", "lunch.ranks=2: write section.key=value"),
    ],
)
def test_the_launcher_checks_its_own_sections(house: House, override: str, what: str) -> None:
    done = house.run(override)
    assert done.returncode == 64 and what in done.stderr and done.stderr.count("\n") == 1
    assert not house.out.exists()


def test_a_section_that_nobody_reads_is_refused(house: House) -> None:
    house.recipe.write_text(house.recipe.read_text() + "trian: {steps: 4}\n")
    done = house.run()
    assert done.returncode == 64 and "section trian that nobody reads" in done.stderr


def test_a_check_that_crashes_is_our_bug_and_shows_its_traceback(house: House) -> None:
    (house.root / "stages.yaml").write_text("one: {folder: missing, verb: one, inputs: []}\n")
    done = house.run()
    assert done.returncode == 1
    assert "No module named missing" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: python -m missing check crashed, its words are above"


def test_stages_stand_in_an_order_that_can_be_run(tmp_path: Path) -> None:
    assert [stage.name for stage in read_stages()][:2] == ["fetch", "clean"]
    path = tmp_path / "stages.yaml"
    path.write_text("a: {folder: x, verb: a, inputs: [b]}\nb: {folder: x, verb: b, inputs: []}\n")
    with pytest.raises(ConfigError, match="stage a needs b, which does not come before it"):
        read_stages(path)
