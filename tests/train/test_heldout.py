"""Evaluation in the loop: the same numbers at any placement, beside a training that goes on as if there were none."""

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from core.ledger import read_lines
from tests.conftest import run_module
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, finished_folder, result_of
from train.run import main as run

HELDOUT_TOKENS = 1500
SHORT = ("train.steps=8", "train.save_every_steps=3")
EVALUATED = (*SHORT, "train.eval_every_steps=3")
STEPS = [3, 6, 8]
LN2 = math.log(2)


@pytest.fixture(scope="module")
def measured(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny recipe with held-out tokens in its pack."""
    out = tmp_path_factory.mktemp("heldout")
    places = (f"run.out={out}", f"run.inputs={tiny.inputs}", f"pack.heldout_tokens={HELDOUT_TOKENS}")
    made = run_module("data", "pack", tiny.recipe, *places)
    assert made.returncode == 0, made.stderr
    return Tiny(tiny.recipe, out)


@pytest.fixture(scope="module")
def whole(measured: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated run of one process."""
    return trained(measured, tmp_path_factory.mktemp("whole"), *EVALUATED)


def trained(tiny: Tiny, out: Path, *overrides: str, ranks: int = 1) -> Path:
    ended = run_ranks(ranks, run, [tiny.arguments(out / "runs", *overrides)], notes=out / "notes")
    assert ended.exit_codes == [0] * ranks, ended.messages
    return out / "runs"


def lines(out: Path) -> list[dict[str, Any]]:
    return read_lines(finished_folder(out) / "ledger.jsonl")[1:]


def floats(score: Mapping[str, str]) -> tuple[float, float]:
    return float.fromhex(score["loss"]), float.fromhex(score["bits_per_byte"])


def test_evaluation_leaves_the_rest_of_the_ledger_and_the_weights_as_they_are(
    tiny: Tiny, measured: Tiny, whole: Path, tmp_path: Path
) -> None:
    without = trained(tiny, tmp_path, *SHORT)
    bare = [{name: value for name, value in line.items() if name not in ("eval", "prev")} for line in lines(whole)]
    assert bare == [{name: value for name, value in line.items() if name != "prev"} for line in lines(without)]
    assert [line["step"] for line in lines(whole) if "eval" in line] == STEPS
    assert not any("eval" in line for line in lines(without))
    one, other = result_of(whole), result_of(without)
    assert (one.weights, one.moments) == (other.weights, other.moments)
    assert one.trajectory_head != other.trajectory_head


PLACEMENTS = [
    (2, ("placement=zero1",)),
    (3, ("placement=replicated",)),
    (2, ("placement=fsdp2",)),
    (2, ("placement=fsdp2", "is_resharded=false")),
    (1, ("placement=fsdp2", "is_resharded=false")),
    (4, ("placement=hsdp", "node_ranks=2", "is_resharded=false")),
    (3, ("placement=zero1", "is_recomputed=true")),
    (2, ("placement=deepspeed1",)),
    (2, ("placement=deepspeed2",)),
    (2, ("placement=deepspeed3",)),
]


@pytest.mark.parametrize(("ranks", "how"), PLACEMENTS)
def test_any_placement_and_world_size_gives_the_run_of_one_process(
    ranks: int, how: tuple[str, ...], measured: Tiny, whole: Path, tmp_path: Path
) -> None:
    if "deepspeed" in how[0] and not find_spec("deepspeed"):
        pytest.skip("deepspeed is not installed")
    out = trained(measured, tmp_path, *EVALUATED, *(f"train.{field}" for field in how), ranks=ranks)
    assert lines(out) == lines(whole)
    assert result_of(out) == result_of(whole)
