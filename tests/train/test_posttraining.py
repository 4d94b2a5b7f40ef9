"""SFT and preferences are runs like any: the same bits at any placement, world size and kill, replayed and refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from core.hashing import hash_file
from core.ledger import read_lines
from data.loader import Loader
from tests.train.chats import Chats
from tests.train.ranks import call, run_ranks
from tests.train.runs import Result, events, finished_folder, result_of, unfinished_folder
from train.config import Objective
from train.losses import next_loss
from train.recipe import read_recipe
from train.replay import main as replay
from train.run import main

OBJECTIVES = (Objective.SFT, Objective.PREFERENCE)
PLACES = ((1, "zero1"), (1, "fsdp2"), (2, "replicated"), (2, "fsdp2"), (3, "zero1"))


@pytest.fixture(scope="module")
def runs(chats: Chats, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Objective, int, str], Path]:
    """The folder of every objective's run at every place."""
    root = tmp_path_factory.mktemp("posttraining")
    found: dict[tuple[Objective, int, str], Path] = {}
    for world_size in (1, 2, 3):
        wanted = [(objective, how) for objective in OBJECTIVES for size, how in PLACES if size == world_size]
        outs = [root / f"{objective.value}-{world_size}-{how}" for objective, how in wanted]
        lines = [
            chats.arguments(out, objective, f"train.placement={how}")
            for out, (objective, how) in zip(outs, wanted, strict=True)
        ]
        ended = run_ranks(world_size, main, lines, notes=root / f"notes{world_size}")
        assert ended.exit_codes == [0] * world_size, ended.messages
        found |= {(objective, world_size, how): out for out, (objective, how) in zip(outs, wanted, strict=True)}
    return found


def steps_of(out: Path) -> list[dict[str, Any]]:
    return read_lines(finished_folder(out) / "ledger.jsonl")[1:]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_bits_are_those_of_one_rank_at_every_placement(
    runs: dict[tuple[Objective, int, str], Path], objective: Objective
) -> None:
    results: dict[tuple[int, str], Result] = {place: result_of(runs[objective, *place]) for place in PLACES}
    assert len(set(results.values())) == 1, results


def pack_of(chats: Chats, objective: Objective) -> Path:
    return next(chats.packs[objective].glob("pack-*"))


def test_the_first_line_names_the_parent_and_what_preferences_are_measured_against(
    chats: Chats, runs: dict[tuple[Objective, int, str], Path]
) -> None:
    state = json.loads((chats.parent / "state.json").read_bytes())
    named = {name: state[name] for name in ("step", "ledger_head", "state_root")}
    wanted = {"takes": "weights", "weights_sha256": hash_file(chats.parent / "model.safetensors"), **named}
    for objective in OBJECTIVES:
        folder = finished_folder(runs[objective, 1, "zero1"])
        first = read_lines(folder / "ledger.jsonl")[0]
        assert (first["parent"], first["objective"]) == (wanted, objective.value)
        kept = folder / "reference.bin"
        assert first.get("reference") == (hash_file(kept) if objective is Objective.PREFERENCE else None)
        assert kept.exists() is (objective is Objective.PREFERENCE)


def test_the_ledger_tells_how_many_targets_of_a_step_count(
    chats: Chats, runs: dict[tuple[Objective, int, str], Path]
) -> None:
    loader = Loader.open(pack_of(chats, Objective.SFT), micro_batches=3, micro_batch=2)
    told = [line["targets"] for line in steps_of(runs[Objective.SFT, 1, "zero1"])]
    masks = [[loader.counted(step, index) for index in range(3)] for step in range(1, 5)]
    assert told == [sum(int(mask.sum()) for mask in own if mask is not None) for own in masks]
    assert len(set(told)) > 1 and max(told) < 3 * 2 * 64


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_killed_run_goes_on_at_another_placement_to_the_same_end(
    chats: Chats, runs: dict[tuple[Objective, int, str], Path], tmp_path: Path, objective: Objective
) -> None:
    out = tmp_path / "killed"
    first, second = (
        chats.arguments(out, objective, f"train.placement={how}", "train.save=sync") for how in ("zero1", "fsdp2")
    )
    assert -9 in run_ranks(2, main, [first], notes=tmp_path / "notes", kill=(1, 3)).exit_codes
    assert len(list((unfinished_folder(out) / "checkpoints").glob("step-*"))) == 1
    ended = run_ranks(1, main, [second], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    assert [one["step"] for one in events(finished_folder(out), "run.resumed")] == [2]
    assert result_of(out) == result_of(runs[objective, 1, "zero1"])


@pytest.mark.parametrize("start", ["init", "step-000002"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_segment_is_replayed_from_the_parents_weights_alone(
    chats: Chats, runs: dict[tuple[Objective, int, str], Path], tmp_path: Path, objective: Objective, start: str
) -> None:
    folder = finished_folder(runs[objective, 3, "zero1"])
    begin = start if start == "init" else folder / "checkpoints" / start
    where = ["--pack", pack_of(chats, objective), "--start", begin, "--until", "4", "--out", tmp_path / "again.jsonl"]
    arguments = chats.arguments(tmp_path / "unused", objective)
    ended = run_ranks(2, replay, [[*map(str, where), *arguments]], notes=tmp_path / "notes")
    assert ended.exit_codes == [0, 0], ended.messages
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_bytes().splitlines()]
    recorded = steps_of(runs[objective, 3, "zero1"])[0 if start == "init" else 2 :]
    assert again == [{key: value for key, value in line.items() if key != "prev"} for line in recorded]


def loss_of(arguments: list[str], pack: str, checkpoint: str) -> tuple[int, str]:
    step, loss = next_loss(
        read_recipe(arguments[0], arguments[1:]), Path(pack), Path(checkpoint) if checkpoint else None
    )
    return step, loss.hex()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_states_loss_on_its_next_batch_is_the_ledgers(
    chats: Chats, runs: dict[tuple[Objective, int, str], Path], tmp_path: Path, objective: Objective
) -> None:
    arguments, pack = chats.arguments(tmp_path, objective), str(pack_of(chats, objective))
    lines = steps_of(runs[objective, 1, "zero1"])
    last = finished_folder(runs[objective, 1, "zero1"]) / "checkpoints" / "step-000002"
    assert call(loss_of, arguments, pack, "") == (1, lines[0]["loss"])
    assert call(loss_of, arguments, pack, str(last)) == (3, lines[2]["loss"])


def test_weights_by_their_hash_are_the_same_weights_and_a_reference_that_was_changed_is_computed_again(
    chats: Chats, runs: dict[tuple[Objective, int, str], Path], tmp_path: Path
) -> None:
    folder, out = tmp_path / "plain", tmp_path / "out"
    folder.mkdir()
    path = folder / "model.safetensors"
    save_file(load_file(chats.parent / "model.safetensors"), path)
    start = ("train.start.state_root=''", f"train.start.checkpoint={folder}")
    named = (*start, f"train.start.weights_sha256={hash_file(path)}", "train.save=sync")
    arguments = chats.arguments(out, Objective.PREFERENCE, *named)
    assert run_ranks(1, main, [arguments], notes=tmp_path / "notes", kill=(0, 3)).exit_codes == [-9]
    kept = unfinished_folder(out) / "reference.bin"
    sound = kept.read_bytes()
    kept.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    ended = run_ranks(1, main, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    assert (finished_folder(out) / "reference.bin").read_bytes() == sound
    ours = result_of(out)
    theirs = result_of(runs[Objective.PREFERENCE, 1, "zero1"])
    assert (ours.trajectory_head, ours.weights) == (theirs.trajectory_head, theirs.weights)
    parent = read_lines(finished_folder(out) / "ledger.jsonl")[0]["parent"]
    assert parent == {"takes": "weights", "weights_sha256": hash_file(path)}


REFUSED = {
    "form": (Objective.SFT, ("train.objective=next_token",), "learns from text, and the pack holds conversations"),
    "root": (Objective.SFT, ("train.start.state_root=" + "0" * 64,), "train.start.state_root is 000"),
    "hash": (
        Objective.SFT,
        ("train.start.state_root=''", "train.start.weights_sha256=" + "0" * 64),
        "train.start.weights_sha256 is 000",
    ),
    "all": (Objective.PREFERENCE, ("train.start.takes=all",), "give train.start with takes=weights"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(chats: Chats, tmp_path: Path, what: str) -> None:
    objective, overrides, told = REFUSED[what]
    ended = run_ranks(1, main, [chats.arguments(tmp_path / "out", objective, *overrides)], notes=tmp_path / "notes")
    assert ended.exit_codes == [64]
    assert told in ended.messages[0]
