"""A release in a repository of a hub (a small one on this machine) and back; what the hub then serves is hashed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ConfigError, DataError
from release.publish.fetch import main as fetch_main
from release.publish.links import main as links_main
from release.publish.push import main
from tests.release.publish.conftest import contents
from tests.release.publish.writablehub import Shelf, serving

ADDRESS = "hf://me/tiny"


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Shelf]:
    """A hub that huggingface_hub talks to."""
    with serving() as served:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", "hf_x")
        yield served


def test_a_release_goes_to_a_hub_and_comes_back_and_a_flipped_bit_is_caught(
    shelf: Shelf, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(tiny), "--to", ADDRESS])
    assert len(shelf.objects) == 2 and shelf.commits == 1
    main([str(tiny), "--to", ADDRESS])
    assert shelf.commits == 1 and "sent 0 of 11 files" in capsys.readouterr().out
    fetch_main([ADDRESS, "--to", str(tmp_path / "got")])
    assert contents(tmp_path / "got") == contents(tiny)
    content = shelf.files["weights/small.bin"]
    shelf.files["weights/small.bin"] = bytes([content[0] ^ 1]) + content[1:]
    with pytest.raises(DataError, match=r"weights/small\.bin at hf://me/tiny has sha256 .* damaged or forged"):
        fetch_main([ADDRESS, "--to", str(tmp_path / "again")])
    main([str(tiny), "--to", ADDRESS])
    assert shelf.commits == 2 and "sent 1 of 11 files" in capsys.readouterr().out


def test_somebody_elses_repository_is_held_against_the_hashes_that_the_hub_lists(
    shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.files = {"README.md": b"a card", "model.safetensors": b"x" * 20_000}
    links_main([ADDRESS])
    assert "hf://me/tiny: 2 whole, 0 gone, 0 differs, 0 unreachable" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["hf://tiny", "hf://spaces/me/tiny", "hf://me/tiny/more@main", "hf://a/b@"])
def test_what_is_no_repository_is_refused(address: str, tiny: Path) -> None:
    with pytest.raises(ConfigError, match="is not of the form hf://"):
        main([str(tiny), "--to", address])
