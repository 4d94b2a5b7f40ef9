import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from core.artifact import current
from core.errors import ConfigError, DataError, RetryError
from data.sources.fetch import main as fetch_main
from data.sources.objectstore import READ_BYTES
from data.sources.pin import main as pin_main
from tests.conftest import run_module
from tests.data.bucket import Bucket, serving
from tests.data.index import make_wheel

TEXT = "".join(f"line {number} of an object in a store\n\n" for number in range(100_000)).encode()
SHA256 = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    """One S3 for all tests here: moto takes a second to start."""
    with serving() as bucket:
        yield bucket


@pytest.fixture
def bucket(server: Bucket) -> Bucket:
    """A bucket with an object of several reads' length."""
    server.faults.clear()
    server.put("a.txt", TEXT)
    assert len(TEXT) > 3 * READ_BYTES
    return server


def write_recipe(folder: Path, urls: str, *, bucket: Bucket | None = None, more: str = "") -> Path:
    path = folder / "remote.yaml"
    store = f"store: {json.dumps(bucket.store)}," if bucket else ""
    path.write_text(
        f"""\
run: {{name: x, out: {folder / "runs"}}}
sources:
  cache: {folder / "cache"}
  attempts: 2
  retry_wait_s: 0.01
  items:
    - {{name: far, kind: remote, license: CC0-1.0, language: en, {store} urls: [{urls}], {more}}}
""",
        encoding="utf-8",
    )
    return path


def link(url: str, sha256: str = SHA256) -> str:
    return f"{{url: '{url}', sha256: {sha256}}}"


def fetched(folder: Path) -> bytes:
    return (current(folder / "runs", "fetch").folder / "archives/far/a.txt").read_bytes()


def cached(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "cache").iterdir())


def test_an_object_arrives_whole_and_the_cache_needs_no_store(bucket: Bucket, tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, link("s3://corpus/a.txt"), bucket=bucket))
    fetch_main([recipe])
    assert fetched(tmp_path) == TEXT
    asked = len(bucket.ranges)
    fetch_main([recipe, "sources.items.0.language=fr"])
    assert len(bucket.ranges) == asked > 0


def test_where_the_store_is_does_not_change_the_artifact(bucket: Bucket, tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, link("s3://corpus/a.txt"), bucket=bucket))
    fetch_main([recipe])
    first = current(tmp_path / "runs", "fetch")
    fetch_main([recipe, "sources.items.0.store.endpoint_override=127.0.0.1:1"])
    assert current(tmp_path / "runs", "fetch").digest == first.digest


def test_dropped_connections_are_taken_up_where_they_broke(bucket: Bucket, tmp_path: Path) -> None:
    bucket.faults = ["", 503, "", "drop"]
    fetch_main([str(write_recipe(tmp_path, link("s3://corpus/a.txt"), bucket=bucket))])
    assert fetched(tmp_path) == TEXT
    starts = [int(re.fullmatch(r"bytes=(\d+)-\d+", asked)[1]) for asked in bucket.ranges if asked]  # type: ignore[index]
    assert starts == sorted(starts) and starts.count(0) == 1


def test_a_store_that_keeps_failing_asks_to_be_retried_and_the_next_run_goes_on(bucket: Bucket, tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, link("s3://corpus/a.txt"), bucket=bucket))
    bucket.faults = ["", *[500] * 9]
    with pytest.raises(
        RetryError, match=r"source far: s3://corpus/a\.txt could not be fetched in 2 attempts, last: OS"
    ):
        fetch_main([recipe])
    left = tmp_path / "cache" / f".{SHA256}-a.txt.part"
    assert left.read_bytes() == TEXT[:READ_BYTES]
    bucket.faults.clear()
    bucket.ranges.clear()
    fetch_main([recipe])
    assert fetched(tmp_path) == TEXT
    assert bucket.ranges[0].startswith(f"bytes={READ_BYTES}-")
    assert cached(tmp_path) == [f"{SHA256}-a.txt"]


@pytest.mark.parametrize("wrong", [b"x" * 1000, TEXT + b"longer"], ids=["short", "long"])
def test_what_was_left_of_another_file_is_begun_again(bucket: Bucket, tmp_path: Path, wrong: bytes) -> None:
    left = tmp_path / "cache" / f".{SHA256}-a.txt.part"
    left.parent.mkdir()
    left.write_bytes(wrong)
    fetch_main([str(write_recipe(tmp_path, link("s3://corpus/a.txt"), bucket=bucket))])
    assert fetched(tmp_path) == TEXT
    assert cached(tmp_path) == [f"{SHA256}-a.txt"]


@pytest.mark.parametrize(
    ("url", "sha256", "message"),
    [
        ("s3://corpus/none.txt", SHA256, "is gone: the store has no such object"),
        ("s3://nowhere/a.txt", SHA256, "is gone: the store has no such object"),
        ("s3://corpus/a.txt", "1" * 64, f"has SHA-256 {SHA256}, the recipe wants 1111"),
    ],
)
def test_what_is_not_there_or_not_the_same_is_bad_data(
    bucket: Bucket, tmp_path: Path, url: str, sha256: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fetch_main([str(write_recipe(tmp_path, link(url, sha256), bucket=bucket))])
    assert cached(tmp_path) == []
    assert not list((tmp_path / "runs").glob("fetch*"))


def test_a_refusal_is_not_asked_again(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("private.txt", TEXT, acl="private")
    with pytest.raises(DataError, match=r"is refused by the store \(OSError ACCESS_DENIED\); check its access"):
        fetch_main([str(write_recipe(tmp_path, link("s3://corpus/private.txt"), bucket=bucket))])
    bucket.faults = [403]
    with pytest.raises(DataError, match="is refused by the store"):
        fetch_main([str(write_recipe(tmp_path, link("s3://corpus/a.txt"), bucket=bucket))])
    assert len(bucket.ranges) == 1


def test_no_store_is_one_clear_line_and_exit_75(tmp_path: Path) -> None:
    nowhere = Bucket("127.0.0.1:1")
    finished = run_module("data", "fetch", write_recipe(tmp_path, link("s3://corpus/a.txt"), bucket=nowhere))
    errors = [line for line in finished.stderr.splitlines() if line.startswith("error:")]
    assert (finished.returncode, len(errors)) == (75, 1)
    assert "in 2 attempts, last: OSError NETWORK_CONNECTION" in errors[0]
    assert "Traceback" not in finished.stderr


def test_every_scheme_that_fsspec_has_is_read(tmp_path: Path) -> None:
    content = make_wheel({"d/a.html": "<p>one</p>", "d/COPYING": "free"})
    (tmp_path / "d.zip").write_bytes(content)
    fsspec.filesystem("memory").pipe("/corpus/d.zip", content)
    for url in (f"file://{tmp_path}/d.zip", "memory://corpus/d.zip"):
        more = "evidence: ['*/COPYING'], read: {members: ['*.html']}"
        recipe = write_recipe(tmp_path, link(url, hashlib.sha256(content).hexdigest()), more=more)
        fetch_main([str(recipe)])
        assert (current(tmp_path / "runs", "fetch").folder / "evidence/far/d/COPYING").read_bytes() == b"free"
        (tmp_path / "cache").rename(tmp_path / f"cache-{url[:4]}")


def test_missing_hashes_are_printed_and_make_the_recipe_whole(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = gzip.compress(b"more\n", mtime=0)
    bucket.put("b.txt.gz", packed)
    urls = "{url: 's3://corpus/a.txt'}, {url: 's3://corpus/b.txt.gz'}"
    recipe = str(write_recipe(tmp_path, urls, bucket=bucket))
    with pytest.raises(ConfigError, match=r"lacks urls\.0\.sha256, urls\.1\.sha256; .*python -m data pin"):
        fetch_main([recipe])
    pin_main([recipe])
    pins = capsys.readouterr().out.split()
    assert pins == [
        f"sources.items.0.urls.0.sha256={SHA256}",
        f"sources.items.0.urls.1.sha256={hashlib.sha256(packed).hexdigest()}",
    ]
    bucket.ranges.clear()
    fetch_main([recipe, *pins])
    assert bucket.ranges == []
    assert fetched(tmp_path) == TEXT


@pytest.mark.parametrize(
    ("urls", "more", "message"),
    [
        (link("https://a/b.txt"), "", "make the source one of kind http"),
        (link("a/b.txt"), "", "has no scheme"),
        (link("ftp://user:secret@a/b.txt"), "", "or a password"),
        (link("nostore://a/b.txt"), "", "has no client here: Protocol not known: nostore"),
        (link("s3://corpus/a.txt"), "store: {endpoint: a}", "has no client here"),
        (link("s3://corpus/a.txt"), "store: {secret_key: secret}", r"store\.secret_key looks like a secret"),
    ],
)
def test_a_mistake_in_an_address_is_one_clear_line(tmp_path: Path, urls: str, more: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        fetch_main([str(write_recipe(tmp_path, urls, more=more))])
    assert "user:secret" not in str(caught.value)
