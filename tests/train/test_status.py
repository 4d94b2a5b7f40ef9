"""How far a run is, by its own word: what a scheduler's job believes."""

from pathlib import Path

import pytest

from core.artifact import current, plan, publish
from core.errors import DataError
from tests.train.runs import Tiny
from train.recipe import Recipe, read_recipe
from train.status import status


def recipe_of(tiny: Tiny, out: Path) -> Recipe:
    name, *overrides = tiny.arguments(out)
    return read_recipe(name, overrides)


def test_a_run_is_unfinished_until_its_artifact_has_its_name(tiny: Tiny, tmp_path: Path) -> None:
    recipe = recipe_of(tiny, tmp_path)
    assert status(recipe) == "unfinished 0"
    inputs = {"pack": current(tiny.inputs, "pack")}
    wanted = plan("train", folder="train", out=tmp_path, config=recipe.facts, inputs=inputs)
    for name in ("step-000004", "step-000008", ".tmp-000012-1"):
        (wanted.aside / "checkpoints" / name).mkdir(parents=True)
    assert status(recipe) == "unfinished 8"
    publish(wanted, {"came_in": "", "went_out": ""}, timing={})
    assert status(recipe) == f"finished {wanted.final}"
    (wanted.final / "artifact.json").write_text("{}")
    assert status(recipe) == "unfinished 0"


def test_a_run_without_its_tokens_cannot_tell(tiny: Tiny, tmp_path: Path) -> None:
    recipe = recipe_of(Tiny(tiny.recipe, tmp_path), tmp_path)
    with pytest.raises(DataError, match="stage pack has not been run"):
        status(recipe)
