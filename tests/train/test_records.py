"""A run that is killed, anywhere, ends as if nothing had happened; what is damaged is refused and said so."""

import fcntl
import json
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from core.hashing import canonical_json
from core.ledger import START, full_head, read_lines
from tests.cuts import Cut
from tests.train.ranks import run_ranks
from tests.train.runs import Result, Tiny, events, finished_folder, result_of, unfinished_folder
from train.run import main
from train.store import list_checkpoints


@dataclass(frozen=True)
class Layout:
    """A placement at a world size."""

    world_size: int
    placement: str


@dataclass(frozen=True)
class Crash:
    """A rank killed after a step, and the layout that the run goes on with."""

    first: Layout
    rank: int
    step: int
    then: Layout


def drawn() -> Crash:
    """A crash that nobody chose, another one every time; a test that fails prints it."""
    first, then = (Layout(random.randint(1, 4), random.choice(["zero1", "fsdp2"])) for _ in range(2))
    return Crash(first, rank=random.randrange(first.world_size), step=random.randint(1, 8), then=then)


CRASHES = (
    Crash(Layout(3, "zero1"), rank=2, step=5, then=Layout(2, "fsdp2")),
    Crash(Layout(2, "fsdp2"), rank=0, step=6, then=Layout(4, "zero1")),
    Crash(Layout(2, "zero1"), rank=1, step=2, then=Layout(1, "zero1")),
    None,
)


@pytest.fixture(scope="module")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The run without a failure."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = run_ranks(1, main, [tiny.arguments(folder)], notes=folder / "notes")
    assert ended.exit_codes == [0], ended.messages
    return result_of(folder)


@pytest.mark.parametrize("crash", CRASHES, ids=lambda crash: str(crash or "drawn"))
def test_a_killed_rank_and_another_placement_give_the_same_artifact(
    crash: Crash | None, undisturbed: Result, tiny: Tiny, tmp_path: Path
) -> None:
    crash = crash or drawn()
    kill(tiny, tmp_path, crash)
    before = unfinished_folder(tmp_path)
    done = len(read_lines(before / "ledger.jsonl", is_torn_allowed=True)) - 1
    assert done < 12, crash
    resume(tiny, tmp_path, crash.then)
    folder = finished_folder(tmp_path)
    assert result_of(tmp_path) == undisturbed, crash
    (resumed,) = events(folder, "run.resumed")
    assert resumed["step"] == (done // 4) * 4 or resumed["step"] == (done // 4) * 4 - 4
    assert resumed["redone_steps"] == done - resumed["step"]
    assert [event["generation"] for event in events(folder, "run.started")] == [1, 2]


@pytest.mark.parametrize("save", ["async", "sync"])
def test_a_kill_at_any_moment_of_a_commit_loses_nothing(tiny: Tiny, tmp_path: Path, save: str) -> None:
    short = ("train.steps=3", "train.warmup_steps=1", "train.save_every_steps=2", f"train.save={save}")
    whole = run_ranks(1, main, [tiny.arguments(tmp_path / "whole", *short)], notes=tmp_path / "notes")
    assert whole.exit_codes == [0], whole.messages
    out = tmp_path / "cut"
    codes: list[int] = []
    while codes[-1:] != [0]:
        cut = Cut(text="/checkpoints", count=len(codes) + 1)
        codes += run_ranks(1, main, [tiny.arguments(out, *short)], notes=tmp_path / "notes", cut=cut).exit_codes
        assert len(codes) < 90
    # Taking room and the name for it, opening each file to write, to hash and to force it to the disk, renaming,
    # syncing the folders: all were cut.
    assert codes == [-9] * (len(codes) - 1) + [0]
    assert len(codes) > 30
    assert result_of(out) == result_of(tmp_path / "whole")


def test_a_rank_that_is_killed_while_it_writes_its_part_leaves_no_checkpoint(
    undisturbed: Result, tiny: Tiny, tmp_path: Path
) -> None:
    # Rank 1 touches a checkpoint only to write its chunks: into the first file, then into the second one.
    for count in (1, 2):
        cut = Cut(text="/.tmp-", count=count, rank=1)
        ended = run_ranks(
            2, main, [tiny.arguments(tmp_path, "train.placement=fsdp2")], notes=tmp_path / "notes", cut=cut
        )
        assert ended.exit_codes == [75, -9], ended.messages
        assert list_checkpoints(unfinished_folder(tmp_path) / "checkpoints") == {}
    resume(tiny, tmp_path, Layout(3, "zero1"))
    assert result_of(tmp_path) == undisturbed


def test_a_part_that_cannot_be_written_is_an_error_on_every_rank(
    undisturbed: Result, tiny: Tiny, tmp_path: Path
) -> None:
    kill(tiny, tmp_path, Crash(Layout(2, "zero1"), rank=1, step=5, then=Layout(2, "zero1")))
    blocked = unfinished_folder(tmp_path) / "checkpoints" / "step-000008"
    cut = Cut(text="/.tmp-000008", count=1, act=partial(put_in_the_way, blocked))
    ended = run_ranks(2, main, [tiny.arguments(tmp_path)], notes=tmp_path / "notes", cut=cut)
    assert ended.exit_codes == [75, 75]
    for message in ended.messages.values():
        assert message.startswith(
            "checkpoint .tmp-000008-2 could not be written (rank 0: [Errno 39] Directory not empty"
        )
    resume(tiny, tmp_path, Layout(2, "zero1"))
    assert result_of(tmp_path) == undisturbed


def put_in_the_way(folder: Path) -> None:
    """Make a folder that is not empty."""
    folder.mkdir()
    (folder / "something").touch()


def test_a_flipped_bit_in_a_checkpoint_is_refused_and_the_one_before_is_used(
    undisturbed: Result, tiny: Tiny, tmp_path: Path
) -> None:
    crash = Crash(Layout(1, "zero1"), rank=0, step=11, then=Layout(1, "zero1"))
    kill(tiny, tmp_path, crash, "train.save=sync")
    flip_bit(unfinished_folder(tmp_path) / "checkpoints" / "step-000008" / "optimizer.safetensors")
    resume(tiny, tmp_path, crash.then)
    folder = finished_folder(tmp_path)
    (refused,) = events(folder, "checkpoint.refused")
    assert refused["step"] == 8
    assert "optimizer.safetensors is missing or not what manifest.json says" in refused["why"]
    assert [event["step"] for event in events(folder, "run.resumed")] == [4]
    assert [event["step"] for event in events(folder, "redo.matched")] == [11]
    assert result_of(tmp_path) == undisturbed


def test_a_redone_step_that_differs_stops_the_run(tiny: Tiny, tmp_path: Path) -> None:
    crash = Crash(Layout(1, "zero1"), rank=0, step=6, then=Layout(1, "zero1"))
    kill(tiny, tmp_path, crash)
    change_loss(unfinished_folder(tmp_path) / "ledger.jsonl", step=6)
    ended = run_ranks(1, main, [tiny.arguments(tmp_path)], notes=tmp_path / "notes")
    assert ended.exit_codes == [65]
    assert ended.messages[0].startswith("redone after a restart, step 6, field loss: 0x0.0p+0 against 0x1.")


def test_a_second_run_in_the_same_folder_is_told_to_wait(tiny: Tiny, tmp_path: Path) -> None:
    crash = Crash(Layout(1, "zero1"), rank=0, step=1, then=Layout(1, "zero1"))
    kill(tiny, tmp_path, crash)
    (lock,) = tmp_path.glob(".train-*.lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = run_ranks(1, main, [tiny.arguments(tmp_path, "train.lock_wait_s=0.2")], notes=tmp_path / "notes")
    assert ended.exit_codes == [75]
    assert "another process holds" in ended.messages[0]


def kill(tiny: Tiny, out: Path, crash: Crash, *overrides: str) -> None:
    """Start a run and kill one rank; the others say that they lost it."""
    arguments = tiny.arguments(out, f"train.placement={crash.first.placement}", *overrides)
    ended = run_ranks(crash.first.world_size, main, [arguments], notes=out / "notes", kill=(crash.rank, crash.step))
    assert ended.exit_codes[crash.rank] == -9
    survivors = [code for rank, code in enumerate(ended.exit_codes) if rank != crash.rank]
    assert survivors == [75] * (crash.first.world_size - 1)
    assert all("lost a peer" in message for message in ended.messages.values())


def resume(tiny: Tiny, out: Path, layout: Layout) -> None:
    """Run again to the end."""
    arguments = tiny.arguments(out, f"train.placement={layout.placement}")
    ended = run_ranks(layout.world_size, main, [arguments], notes=out / "notes")
    assert ended.exit_codes == [0] * layout.world_size, ended.messages


def flip_bit(path: Path) -> None:
    """Change the lowest bit of the last byte."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_loss(path: Path, *, step: int) -> None:
    """Give a step another loss, and make the chain whole again, as someone who knows the format would."""
    lines = read_lines(path, is_torn_allowed=True)
    lines[step]["loss"] = (0.0).hex()
    previous = START
    for line in lines:
        line["prev"] = previous
        previous = full_head([line])
    path.write_bytes(b"".join(canonical_json(line) + b"\n" for line in lines))
    assert json.loads(path.read_bytes().splitlines()[step])["step"] == step
