"""A release in S3 (moto's server) and back; what lies there otherwise is caught."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError, RetryError
from release.publish.fetch import main as fetch_main
from release.publish.links import main as links_main
from release.publish.push import main
from tests.data.bucket import BUCKET, Bucket, serving
from tests.release.publish.conftest import FILES, contents


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    """A store with one bucket for the module."""
    with serving() as bucket:
        bucket.put("x", b"")
        yield bucket


@pytest.fixture
def address(server: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a release may lie."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    yield reached_at(server.address, tmp_path)
    server.faults = []


@pytest.fixture
def written(server: Bucket, address: str, tmp_path: Path) -> str:
    """The same place without the gate, which does not take what comes in chunks."""
    host, port = server.moto
    return reached_at(f"{host}:{port}", tmp_path)


def reached_at(server: str, folder: Path) -> str:
    """An address below the bucket, over a server."""
    return f"s3://{BUCKET}/{folder.name}/tiny?endpoint_override={server}&scheme=http&region=us-east-1"


def put_corrupted(server: Bucket, address: str, name: str) -> None:
    """Replace an object by one with a flipped bit."""
    content = FILES[name]
    key = address.partition(f"{BUCKET}/")[2].partition("?")[0]
    server.put(f"{key}/{name}", bytes([content[0] ^ 1]) + content[1:])


def test_a_release_goes_to_s3_and_comes_back_and_a_flipped_bit_is_caught(
    server: Bucket, address: str, written: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(tiny), "--to", written])
    assert "sent 11 of 11 files" in capsys.readouterr().out
    fetch_main([address, "--to", str(tmp_path / "got")])
    assert contents(tmp_path / "got") == contents(tiny)
    put_corrupted(server, address, "weights/small.bin")
    with pytest.raises(DataError, match=r"weights/small\.bin at s3://.* it is damaged or forged there"):
        fetch_main([address, "--to", str(tmp_path / "again")])
    with pytest.raises(DataError, match="not as it was published"):
        links_main([address])
    capsys.readouterr()
    main([str(tiny), "--to", written])
    assert "sent 1 of 11 files" in capsys.readouterr().out
    links_main([address])
    assert re.search(r": 9 whole, 0 gone, 0 differs, 0 unreachable, root \w{64}", capsys.readouterr().out)


def test_connections_that_drop_are_taken_up(
    server: Bucket, address: str, written: str, tiny: Path, tmp_path: Path
) -> None:
    main([str(tiny), "--to", written])
    server.faults = ["drop", 503, "", 500, "drop", 503]
    fetch_main([address, "--to", str(tmp_path / "got")])
    assert contents(tmp_path / "got") == contents(tiny)


def test_a_store_that_keeps_failing_asks_to_be_retried(address: str, written: str, server: Bucket, tiny: Path) -> None:
    main([str(tiny), "--to", written])
    server.faults = [503] * 50
    with pytest.raises(RetryError, match="try again later"):
        fetch_main([address, "--to", str(tiny.parent / "got")])


def test_an_option_that_is_none_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="has the option 'secret_key'"):
        main([str(tiny), "--to", "s3://b/x?secret_key=1"])


def test_what_was_never_there_is_named(address: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"MANIFEST\.jsonl is not at s3"):
        fetch_main([address, "--to", str(tmp_path / "got")])
