import stat
from pathlib import Path

import pytest

from core.codetree import ROOT
from core.errors import ConfigError
from release.signing.keys import generate, key_id, read_private, read_public
from tests.conftest import run_module


def test_a_private_key_is_its_owners_alone_and_the_public_one_belongs_to_it(tmp_path: Path) -> None:
    public = generate(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert key_id(read_private(tmp_path / "key").public_key()) == key_id(read_public(public))
    assert b"PRIVATE" not in public.read_bytes()


def test_two_keys_are_not_the_same(tmp_path: Path) -> None:
    assert len({key_id(read_public(generate(tmp_path / name))) for name in ("one", "two")}) == 2


@pytest.mark.parametrize("there", ["key", "key.pub"])
def test_nothing_is_written_over(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(ConfigError, match="is not written over"):
        generate(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_a_key_in_the_checkout_would_be_published_and_is_refused() -> None:
    with pytest.raises(ConfigError, match="whose files a bundle publishes"):
        generate(ROOT / "tests/key")
    assert not (ROOT / "tests/key").exists()


def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    generate(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(ConfigError, match="mode 640"):
        read_private(tmp_path / "key")


def test_what_is_no_key_is_the_users_mistake(tmp_path: Path) -> None:
    generate(tmp_path / "key")
    with pytest.raises(ConfigError, match="no public key"):
        read_public(tmp_path / "key")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_public(tmp_path / "none")
    (tmp_path / "text").write_text("x")
    (tmp_path / "text").chmod(0o600)
    with pytest.raises(ConfigError, match="no private key"):
        read_private(tmp_path / "text")


def test_the_verb_says_the_keys_id(tmp_path: Path) -> None:
    done = run_module("release", "keygen", tmp_path / "key")
    assert done.returncode == 0, done.stderr
    assert f"key id {key_id(read_public(tmp_path / 'key.pub'))}" in done.stdout
    assert run_module("release", "keygen", tmp_path / "key").returncode == 64
