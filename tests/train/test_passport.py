"""A machine's passport: it must get what the ledger of the run says."""

import json
from pathlib import Path

import pytest

from core.ledger import Ledger, read_lines
from tests.conftest import run_module
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, finished_folder, pack_once
from train.passport import choose
from train.run import main


@pytest.fixture(scope="module")
def made(shared_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, Path]:
    """A finished run of two ranks."""
    tiny, out = pack_once(shared_recipe), tmp_path_factory.mktemp("passport")
    assert run_ranks(2, main, [tiny.arguments(out, "train.steps=6")], notes=out / "notes").exit_codes == [0, 0]
    return tiny, out


def test_a_committed_step_is_computed_again_and_a_ledger_that_says_otherwise_is_told_apart(
    made: tuple[Tiny, Path],
) -> None:
    tiny, out = made
    arguments = tiny.arguments(out, "train.steps=6")
    said = run_module("train", "passport", *arguments)
    assert said.returncode == 0, said.stderr
    path = finished_folder(out) / "ledger.jsonl"
    content, found = path.read_bytes(), json.loads(said.stdout)
    genesis, *lines = read_lines(path)
    (line,) = [one for one in lines if one["step"] == found["step"]]
    assert found["grads"] == line["grads"] and found["step"] == 5
    path.unlink()
    try:
        forged = Ledger(path, genesis)
        for one in lines:
            numbers = {name: value for name, value in one.items() if name != "prev"}
            forged.append(numbers | ({"grads": "0" * 64} if one is line else {}))
        forged.close()
        refused = run_module("train", "passport", *arguments)
    finally:
        path.write_bytes(content)
    assert refused.returncode == 65 and "000000000000 in " in refused.stderr


def test_without_a_run_there_is_nothing_to_show(made: tuple[Tiny, Path], tmp_path: Path) -> None:
    said = run_module("train", "passport", *made[0].arguments(tmp_path))
    assert (said.returncode, json.loads(said.stdout)) == (0, {"committed": "nothing"}), said.stderr


def test_the_step_is_the_last_whose_state_before_it_is_there() -> None:
    lines = [{"step": step, "grads": "ab"} for step in range(1, 7)] + [{"step": 9}]
    assert choose(lines, [0, 4, 6]) == lines[4]
    assert choose(lines, [0]) == lines[0] and choose(lines, [6]) is None
