"""A replay of any segment, at any placement, gives the ledger's lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.artifact import current
from core.errors import ConfigError
from core.ledger import read_lines
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, finished_folder
from train.replay import main as replay
from train.replay import parse
from train.run import main as run


@pytest.fixture(scope="module")
def finished(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one rank."""
    out = tmp_path_factory.mktemp("finished")
    ended = run_ranks(1, run, [tiny.arguments(out)], notes=out / "notes")
    assert ended.exit_codes == [0], ended.messages
    return finished_folder(out)


def segment(tiny: Tiny, *, start: str | Path, until: int, out: Path) -> list[str]:
    pack = current(tiny.inputs, "pack").folder
    options = ["--pack", pack, "--start", start, "--until", until, "--out", out]
    return [str(tiny.recipe), *map(str, options)]


def numbers(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def ledger(folder: Path) -> list[dict[str, Any]]:
    lines = read_lines(folder / "ledger.jsonl")[1:]
    return [{name: value for name, value in line.items() if name != "prev"} for line in lines]


def test_a_segment_on_other_ranks_gives_the_ledgers_lines(finished: Path, tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "lines.jsonl"
    start = finished / "checkpoints" / "step-000004"
    arguments = [*segment(tiny, start=start, until=9, out=out), "train.placement=fsdp2"]
    ended = run_ranks(2, replay, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [0, 0], ended.messages
    assert numbers(out) == ledger(finished)[4:9]
    assert [line["step"] for line in numbers(out) if "state" in line] == [8]


def test_from_the_initial_weights_and_with_another_seed(finished: Path, tiny: Tiny, tmp_path: Path) -> None:
    same, other = tmp_path / "same.jsonl", tmp_path / "other.jsonl"
    runs = [
        segment(tiny, start="init", until=2, out=same),
        [*segment(tiny, start="init", until=2, out=other), "train.seed=2"],
    ]
    ended = run_ranks(1, replay, runs, notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    assert numbers(same) == ledger(finished)[:2]
    assert numbers(other)[0]["batch"] == numbers(same)[0]["batch"]
    assert numbers(other)[0]["loss"] != numbers(same)[0]["loss"]


def test_a_damaged_checkpoint_is_not_replayed(finished: Path, tiny: Tiny, tmp_path: Path) -> None:
    start = tmp_path / "step-000004"
    start.mkdir()
    for path in (finished / "checkpoints" / "step-000004").iterdir():
        (start / path.name).write_bytes(path.read_bytes())
    content = bytearray((start / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (start / "model.safetensors").write_bytes(content)
    out = tmp_path / "lines.jsonl"
    ended = run_ranks(1, replay, [segment(tiny, start=start, until=8, out=out)], notes=tmp_path / "notes")
    assert ended.exit_codes == [66]
    assert not out.exists()


def test_a_segment_must_have_steps(finished: Path, tiny: Tiny, tmp_path: Path) -> None:
    start = finished / "checkpoints" / "step-000008"
    out = tmp_path / "lines.jsonl"
    for until, message in ((8, "give a later step"), (13, "is beyond train.steps 12")):
        ended = run_ranks(1, replay, [segment(tiny, start=start, until=until, out=out)], notes=tmp_path / "notes")
        assert ended.exit_codes == [64]
        assert message in ended.messages[0]


def test_missing_options_are_named() -> None:
    with pytest.raises(ConfigError, match="needs --start, --out"):
        parse(["tiny", "--pack", "somewhere", "--until", "3"])
    with pytest.raises(ConfigError, match="--until '3a' is not a step"):
        parse(["tiny", "--pack", "p", "--start", "init", "--until", "3a", "--out", "o"])
