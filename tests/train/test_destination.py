"""Copies of checkpoints in a folder and an S3 store: what is lost here comes back, what broke half-way is no copy."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from core.errors import ConfigError, DataError, RetryError
from tests.conftest import run_module
from tests.train.ranks import run_ranks
from tests.train.runs import Tiny, events, finished_folder, result_of, unfinished_folder
from tests.train.test_checkpoint import commit, tensors
from tests.train.test_records import flip_bit
from train.destination import Destination
from train.run import main
from train.store import list_checkpoints

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
