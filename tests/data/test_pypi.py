from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError, RetryError
from core.hashing import hash_file
from data.sources.download import Attempts, keep
from data.sources.pypiindex import Release, pip_settings
from data.sources.pypiindex import download as receive_release
from tests.data.index import Index, make_sdist, serving

FILE = "corpus-1.0.tar.gz"
ATTEMPTS = Attempts(count=3, wait_s=0.01)


@pytest.fixture(scope="module")
def server() -> Iterator[Index]:
    """One index for all tests here: asking pip for its settings costs half a second."""
    with serving() as index:
        yield index


@pytest.fixture
def index(server: Index) -> Index:
    """An index with one file."""
    server.reset()
    server.add(FILE, make_sdist({"corpus-1.0/a.txt": "text"}))
    return server


@pytest.fixture
def pip_environment(index: Index) -> Iterator[pytest.MonkeyPatch]:
    """An environment to change; pip is asked again in it and after it."""
    with pytest.MonkeyPatch.context() as environment:
        pip_settings.cache_clear()
        yield environment
    pip_settings.cache_clear()


def release(index: Index) -> Release:
    return Release(package="corpus", version="1.0", file=FILE, sha256=index.listed_sha256[FILE])


def download(wanted: Release, target: Path, *, attempts: Attempts) -> None:
    def receive(aside: Path) -> None:
        receive_release(wanted, aside, attempts=attempts)

    keep(target, wanted.sha256, what=str(wanted), receive=receive)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_the_named_file_arrives_whole(index: Index, tmp_path: Path) -> None:
    download(release(index), tmp_path / "a", attempts=ATTEMPTS)
    assert (tmp_path / "a").read_bytes() == index.files[FILE]
    assert leftovers(tmp_path) == ["a"]


def test_a_hash_that_the_index_does_not_list_is_refused_before_any_download(index: Index, tmp_path: Path) -> None:
    wrong = replace(release(index), sha256="0" * 64)
    with pytest.raises(DataError, match=rf"SHA-256 {release(index).sha256}, the recipe wants {'0' * 64}"):
        download(wrong, tmp_path / "a", attempts=ATTEMPTS)
    assert leftovers(tmp_path) == []
    assert not any(path.startswith("/files/") for path in index.asked)


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_file_that_was_swapped_on_the_index_is_refused(index: Index, tmp_path: Path, is_listed: bool) -> None:
    wanted = release(index)
    index.files[FILE] = make_sdist({"corpus-1.0/a.txt": "swapped"})
    index.listed_sha256[FILE] = wanted.sha256 if is_listed else ""
    with pytest.raises(DataError, match="do not use it"):
        download(wanted, tmp_path / "a", attempts=ATTEMPTS)
    assert leftovers(tmp_path) == []


def test_a_vanished_version_is_named_with_those_that_are_there(index: Index, tmp_path: Path) -> None:
    gone = replace(release(index), version="0.9", file="corpus-0.9.tar.gz")
    with pytest.raises(DataError, match=r"no longer has corpus-0\.9\.tar\.gz of corpus 0\.9; it has 1\.0"):
        download(gone, tmp_path / "a", attempts=ATTEMPTS)
    wheel = replace(release(index), file="corpus-1.0-py3-none-any.whl")
    with pytest.raises(DataError, match=r"of that version it has corpus-1\.0\.tar\.gz"):
        download(wheel, tmp_path / "a", attempts=ATTEMPTS)
    with pytest.raises(DataError, match="no package absent"):
        download(replace(gone, package="absent"), tmp_path / "a", attempts=ATTEMPTS)


def test_passing_faults_of_the_network_are_survived(index: Index, tmp_path: Path) -> None:
    index.statuses = [503, 429]
    download(release(index), tmp_path / "a", attempts=ATTEMPTS)
    assert hash_file(tmp_path / "a") == release(index).sha256


def test_lasting_faults_ask_to_be_retried_later(index: Index, tmp_path: Path) -> None:
    index.statuses = [500] * 3
    with pytest.raises(RetryError, match="3 attempts, last: HTTP status 500"):
        download(release(index), tmp_path / "a", attempts=ATTEMPTS)
    assert index.asked.total() == 3


def test_a_refusal_is_not_retried(index: Index, tmp_path: Path) -> None:
    index.statuses = [403]
    with pytest.raises(DataError, match="HTTP status 403"):
        download(release(index), tmp_path / "a", attempts=ATTEMPTS)
    assert index.asked.total() == 1


def test_no_network_asks_to_be_retried_and_shows_no_address(
    index: Index, tmp_path: Path, pip_environment: pytest.MonkeyPatch
) -> None:
    pip_environment.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:1/simple/")
    with pytest.raises(RetryError, match="could not be fetched in 3 attempts, last: ConnectionError") as caught:
        download(release(index), tmp_path / "a", attempts=ATTEMPTS)
    assert "secret" not in str(caught.value)
    assert leftovers(tmp_path) == []


def test_the_index_of_pips_configuration_file_is_asked_and_local_extras_do_no_harm(
    index: Index, tmp_path: Path, pip_environment: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        f"[global]\nindex-url = http://127.0.0.1:1/\nextra-index-url = file://{tmp_path}/simple\n"
        f"[download]\nindex-url = {index.url}\n",
        encoding="utf-8",
    )
    pip_environment.delenv("PIP_INDEX_URL")
    pip_environment.setenv("PIP_CONFIG_FILE", str(config))
    download(release(index), tmp_path / "a", attempts=ATTEMPTS)
    assert hash_file(tmp_path / "a") == release(index).sha256


def test_an_index_that_is_no_web_address_is_the_users_input(
    index: Index, tmp_path: Path, pip_environment: pytest.MonkeyPatch
) -> None:
    pip_environment.setenv("PIP_INDEX_URL", f"file://{tmp_path}/simple")
    with pytest.raises(ConfigError, match="index-url"):
        download(release(index), tmp_path / "a", attempts=ATTEMPTS)
