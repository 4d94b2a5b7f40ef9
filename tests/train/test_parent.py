"""A run that goes on from another run's checkpoint gives the bits of the run that never stopped."""

import json
import shutil
from pathlib import Path

import pytest

from core.ledger import read_lines
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, finished_folder
from train.replay import main as replay
from train.run import main

PARENT = ("train.schedule=constant", "train.steps=4", "train.warmup_steps=1", "train.save_every_steps=2")
WHOLE = (
    "train.schedule=wsd",
    "train.decay_steps=4",
    "train.steps=8",
    "train.warmup_steps=1",
    "train.save_every_steps=2",
)
VARIANTS = {"adamw": (), "rich": ("train.optimizer=muon", "train.spikes.is_on=true", "train.spikes.window=3")}


def _begun_by(parent: Path) -> tuple[str, ...]:
    checkpoint = finished_folder(parent) / "checkpoints" / "step-000004"
    root = json.loads((checkpoint / "state.json").read_bytes())["state_root"]
    return f"train.start.checkpoint={checkpoint}", f"train.start.state_root={root}"


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A constant run, the whole run with a decay, and the decay from the constant run's end, by variant."""
    root = tmp_path_factory.mktemp("parent")
    firsts = [
        tiny.arguments(root / f"{name}-{kind}", *overrides, *variant)
        for name, variant in VARIANTS.items()
        for kind, overrides in (("parent", PARENT), ("whole", WHOLE))
    ]
    assert run_ranks(1, main, firsts, notes=root / "notes").exit_codes == [0]
    for world_size, how in ((1, "zero1"), (2, "fsdp2"), (3, "zero1")):
        children = [
            tiny.arguments(root / f"{name}-{world_size}", f"train.placement={how}", *WHOLE, *variant, *start)
            for name, variant in VARIANTS.items()
            for start in [_begun_by(root / f"{name}-parent")]
        ]
        ended = run_ranks(world_size, main, children, notes=root / "notes")
        assert ended.exit_codes == [0] * world_size, ended.messages
    return root


@pytest.mark.parametrize("variant", VARIANTS)
def test_decaying_a_constant_run_is_the_run_with_that_decay_at_every_placement(folder: Path, variant: str) -> None:
    def steps(name: str) -> list[dict[str, object]]:
        lines = read_lines(finished_folder(folder / f"{variant}-{name}") / "ledger.jsonl")
        return [{key: value for key, value in line.items() if key != "prev"} for line in lines[1:]]

    whole = steps("whole")
    assert len(whole) == 8
    for name in ("1", "2", "3"):
        assert steps(name) == whole[4:]


def test_the_first_line_names_the_parent(folder: Path) -> None:
    parent = read_lines(finished_folder(folder / "adamw-parent") / "ledger.jsonl")
    state = json.loads((finished_folder(folder / "adamw-parent") / "checkpoints/step-000004/state.json").read_bytes())
    first = read_lines(finished_folder(folder / "adamw-1") / "ledger.jsonl")[0]
    assert first["parent"] == {"step": 4, "ledger_head": state["ledger_head"], "state_root": parent[4]["state"]}


def test_a_killed_child_goes_on_to_the_same_end(folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    arguments = tiny.arguments(out, *WHOLE, *_begun_by(folder / "adamw-parent"))
    assert run_ranks(1, main, [arguments], notes=tmp_path / "notes", kill=(0, 7)).exit_codes == [-9]
    assert run_ranks(1, main, [arguments], notes=tmp_path / "notes").exit_codes == [0]
    ledgers = [(finished_folder(place) / "ledger.jsonl").read_bytes() for place in (out, folder / "adamw-1")]
    assert ledgers[0] == ledgers[1]


def test_a_child_is_replayed_from_its_parent(folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    pack = next(tiny.inputs.glob("pack-*"))
    arguments = tiny.arguments(tmp_path / "unused", *WHOLE, *_begun_by(folder / "adamw-parent"))
    where = ["--pack", str(pack), "--start", "init", "--until", "6", "--out", str(tmp_path / "replayed.jsonl")]
    ended = run_ranks(1, replay, [[*where, *arguments]], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    replayed = [json.loads(line) for line in (tmp_path / "replayed.jsonl").read_bytes().splitlines()]
    recorded = read_lines(finished_folder(folder / "adamw-1") / "ledger.jsonl")[1:3]
    assert replayed == [{key: value for key, value in line.items() if key != "prev"} for line in recorded]


REFUSED = {
    "root": (("train.start.state_root=" + "0" * 64,), 64, "train.start.state_root is 000"),
    "optimizer": (("train.optimizer=muon",), 64, "was made with another optimizer than muon"),
    "model": (("model.ffn_dim=96",), 66, "holds other tensors than the recipe's model"),
    "steps": (("train.steps=4", "train.decay_steps=3"), 64, "train.steps 4 must be more"),
    "alone": (("train.start.state_root=''",), 64, "needs checkpoint and state_root together"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_its_parent_is_refused(folder: Path, tiny: Tiny, tmp_path: Path, what: str) -> None:
    overrides, code, told = REFUSED[what]
    arguments = tiny.arguments(tmp_path / "out", *WHOLE, *_begun_by(folder / "adamw-parent"), *overrides)
    ended = run_ranks(1, main, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [code]
    assert told in ended.messages[0]


def test_a_damaged_parent_is_refused(folder: Path, tiny: Tiny, tmp_path: Path) -> None:
    checkpoint, root = _begun_by(folder / "adamw-parent")
    copy = tmp_path / "step-000004"
    shutil.copytree(checkpoint.partition("=")[2], copy)
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-5] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    arguments = tiny.arguments(tmp_path / "out", *WHOLE, f"train.start.checkpoint={copy}", root)
    ended = run_ranks(1, main, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [66]
    assert "model.safetensors is missing or not what manifest.json says" in ended.messages[0]
