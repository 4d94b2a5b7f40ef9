"""Copies of checkpoints in a folder and an S3 store: what is lost here comes back, what broke half-way is no copy."""

import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from moto.server import ThreadedMotoServer

from core.errors import ConfigError, DataError, RetryError
from tests.conftest import run_module
from tests.train.ranks import Ended, run_ranks
from tests.train.runs import Tiny, events, finished_folder, result_of, unfinished_folder
from tests.train.test_checkpoint import commit, tensors
from tests.train.test_records import flip_bit
from train.destination import Destination
from train.run import main
from train.store import list_checkpoints


class HTTPError(Exception):
    """What gcsfs and others raise."""


ANY = {"is_kept": lambda step: step == 4, "newest": 2}


def committed(folder: Path, *steps: int) -> tuple[Path, Path]:
    """A folder of checkpoints and a ledger with a line a step."""
    folder.mkdir()
    for step in steps:
        commit(folder, tensors(), step=step)
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(b"".join(b"%d\n" % line for line in range(20)))
    return folder / "checkpoints", ledger


def test_copies_come_back_as_they_were_and_old_ones_go(tmp_path: Path) -> None:
    checkpoints, ledger = committed(tmp_path / "run", 4, 8, 12, 16)
    one = Destination(f"file://{tmp_path}/there", run="r")
    one.send(checkpoints, ledger, **ANY)  # type: ignore[arg-type]
    assert one.steps() == [4, 12, 16]
    back = tmp_path / "back"
    back.mkdir()
    for step in one.steps():
        one.bring(step, back)
        for path in (checkpoints / f"step-{step:06d}").iterdir():
            assert (back / path.parent.name / path.name).read_bytes() == path.read_bytes()
    assert sorted(path.name for path in back.iterdir()) == ["step-000004", "step-000012", "step-000016"]
    one.bring_ledger(tmp_path / "ledger")
    assert (tmp_path / "ledger").read_bytes().splitlines()[-1] == b"16"


def test_a_copy_that_broke_half_way_is_none_and_is_made_whole_later(tmp_path: Path) -> None:
    checkpoints, ledger = committed(tmp_path / "run", 4)
    blocked = tmp_path / "there" / "r" / "step-000004" / "optimizer.safetensors"
    (blocked / "in the way").mkdir(parents=True)
    one = Destination(str(tmp_path / "there"), run="r")
    with pytest.raises(RetryError, match=r"could not copy step-000004 at .*there .*; the checkpoints on this disk are"):
        one.send(checkpoints, ledger, **ANY)  # type: ignore[arg-type]
    assert (blocked.parent / "model.safetensors").exists() and one.steps() == []
    shutil.rmtree(blocked)
    one.send(checkpoints, ledger, **ANY)  # type: ignore[arg-type]
    assert one.steps() == [4]


class Named(LocalFileSystem):  # type: ignore[misc]
    """Folders of this machine under another name."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        told: str = super()._strip_protocol(path.partition("://")[2] or path)
        return told


class Broken(Named):
    """A store whose client breaks in the middle of a checkpoint, with an error that is no OSError."""

    def put_file(self, lpath: str, rpath: str, *arguments: Any, **named: Any) -> None:
        """Takes one file."""
        if rpath.endswith("optimizer.safetensors"):
            raise HTTPError("503: slow down")
        super().put_file(lpath, rpath, *arguments, **named)


def test_any_error_of_a_client_is_one_line_that_says_to_start_again(tmp_path: Path) -> None:
    fsspec.register_implementation("broken", Broken, clobber=True)
    checkpoints, ledger = committed(tmp_path / "run", 4)
    one = Destination(f"broken://{tmp_path}/there", run="r")
    with pytest.raises(RetryError, match=r"could not copy step-000004 at .* \(503: slow down\)"):
        one.send(checkpoints, ledger, **ANY)  # type: ignore[arg-type]
    assert one.steps() == []


def test_a_checkpoint_that_is_gone_when_its_turn_comes_is_passed_over(tmp_path: Path) -> None:
    checkpoints, ledger = committed(tmp_path / "run", 4, 8)
    one, asked = Destination(str(tmp_path / "there"), run="r"), []

    def claim(step: int) -> bool:
        asked.append(step)
        return step == 8

    one.send(checkpoints, ledger, claim=claim, **ANY)  # type: ignore[arg-type]
    assert one.steps() == [8] and asked == [4, 8, 0]


def test_a_damaged_copy_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    checkpoints, ledger = committed(tmp_path / "run", 4)
    one = Destination(str(tmp_path / "there"), run="r")
    one.send(checkpoints, ledger, **ANY)  # type: ignore[arg-type]
    flip_bit(tmp_path / "there" / "r" / "step-000004" / "model.safetensors")
    (tmp_path / "back").mkdir()
    with pytest.raises(DataError, match=r"the copy of step-000004 at .* is damaged"):
        one.bring(4, tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


def test_an_address_without_a_client_is_refused() -> None:
    with pytest.raises(ConfigError, match="which has no client here"):
        Destination("nowhere://x", run="r")


def test_a_run_whose_disk_is_lost_goes_on_from_the_copies(tiny: Tiny, tmp_path: Path) -> None:
    whole = run_ranks(1, main, [tiny.arguments(tmp_path / "whole")], notes=tmp_path / "notes")
    assert whole.exit_codes == [0], whole.messages
    arguments = tiny.arguments(tmp_path / "out", f"train.checkpoints={tmp_path}/there", "train.save=sync")
    killed = run_ranks(2, main, [arguments], notes=tmp_path / "notes", kill=(1, 10))
    assert killed.exit_codes[1] == -9
    assert 8 in list_checkpoints(unfinished_folder(tmp_path / "out") / "checkpoints")
    shutil.rmtree(tmp_path / "out")
    ended = run_ranks(2, main, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [0, 0], ended.messages
    assert result_of(tmp_path / "out") == result_of(tmp_path / "whole")
    folder = finished_folder(tmp_path / "out")
    assert [event["step"] for event in events(folder, "checkpoint.brought")] == [4, 8]
    assert [event["step"] for event in events(folder, "run.resumed")] == [8]


def test_a_place_that_fails_half_way_stops_every_rank_and_the_next_start_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    def start(name: str, there: str) -> Ended:
        arguments = tiny.arguments(tmp_path / name, f"train.checkpoints={tmp_path}/{there}")
        return run_ranks(2, main, [arguments], notes=tmp_path / "notes")

    assert start("whole", "sound").exit_codes == [0, 0]
    (run,) = (tmp_path / "sound").iterdir()
    blocked = tmp_path / "failing" / run.name / "step-000008" / "optimizer.safetensors"
    (blocked / "in the way").mkdir(parents=True)
    stopped = start("out", "failing")
    assert stopped.exit_codes == [75, 75], stopped.messages
    assert all("could not copy step-000008" in message for message in stopped.messages.values())
    assert 8 in list_checkpoints(unfinished_folder(tmp_path / "out") / "checkpoints")
    shutil.rmtree(blocked)
    assert start("out", "failing").exit_codes == [0, 0]
    assert result_of(tmp_path / "out") == result_of(tmp_path / "whole")
    copies = [sorted(path.name for path in (tmp_path / place / run.name).iterdir()) for place in ("sound", "failing")]
    assert copies[0] == copies[1] and len(copies[0]) > 1


class Slow(Named):
    """A store that takes nothing until the run has committed its last checkpoint."""

    checkpoints = ""
    last = 0

    def put_file(self, lpath: str, rpath: str, *arguments: Any, **named: Any) -> None:
        """Waits."""
        while not list(Path(self.checkpoints).glob(f".train-*.part/checkpoints/step-{self.last:06d}")):
            time.sleep(0.01)
        super().put_file(lpath, rpath, *arguments, **named)


def run_slowly(arguments: Sequence[str], *, out: Path, last: int) -> None:
    """Train with that store."""
    Slow.checkpoints, Slow.last = str(out), last
    fsspec.register_implementation("slow", Slow, clobber=True)
    main(arguments)


def test_training_does_not_wait_for_a_slow_place_and_ends_when_all_is_there(tiny: Tiny, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = ("train.steps=10", "train.warmup_steps=1", "train.save_every_steps=2", "train.keep_every_steps=10")
    arguments = tiny.arguments(out, *settings, "train.keep_newest=1", f"train.checkpoints=slow://{tmp_path}/there")
    ended = run_ranks(2, partial(run_slowly, out=out, last=10), [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [0, 0], ended.messages
    (run,) = (tmp_path / "there").iterdir()
    copies = sorted(path.name for path in run.iterdir())
    # Those between were removed before their turn came.
    assert copies[-1] == "step-000010" and len(copies) < 5


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of an S3 server on this machine, and the environment that leads there."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="bucket")
    yield "s3://bucket/checkpoints"
    server.stop()


def test_an_s3_store_holds_the_copies_and_gives_them_back(store: str, tiny: Tiny, tmp_path: Path) -> None:
    arguments = ("train.steps=4", "train.warmup_steps=1", "train.save_every_steps=2", f"train.checkpoints={store}")
    first = run_module("train", "run", *tiny.arguments(tmp_path / "first", *arguments))
    assert first.returncode == 0, first.stderr
    again = run_module("train", "run", *tiny.arguments(tmp_path / "again", *arguments))
    assert again.returncode == 0, again.stderr
    folder = finished_folder(tmp_path / "again")
    assert [event["step"] for event in events(folder, "checkpoint.brought")] == [2, 4]
    assert result_of(tmp_path / "again") == result_of(tmp_path / "first")
