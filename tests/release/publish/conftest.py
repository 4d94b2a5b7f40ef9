"""A small bundle whose files are of every awkward kind, and a web server that shows it."""

import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from release.manifest import list_files, write_manifest
from release.publish.push import main as publish_main
from tests.data.flaky import Site, serving

FILES = {
    "README.md": b"a bundle\n",
    "data/empty.txt": b"",
    "data/name with space+%20.txt": "größe".encode(),
    "logs/ledger.jsonl": b'{"step": 1}\n' * 50,
    "weights/final/model.safetensors": random.Random(1).randbytes(200_000),
    "weights/small.bin": random.Random(2).randbytes(65_536),
}
OUTSIDE = {"attestations/release.dsse.json": b"{}\n", "witness/journal.jsonl": b"{}\n" * 3}


def write_bundle(folder: Path, *, readme: bytes = FILES["README.md"]) -> Path:
    """Write a bundle: as far as publishing goes, the manifest makes one."""
    for name, content in (FILES | OUTSIDE | {"README.md": readme}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for part in (folder, folder / "witness"):
        write_manifest(part, list_files(part, lambda name: ("document", "CC0-1.0")))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by path, without mirrors.json."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(files.items()) if name != "mirrors.json"}


def put_on(site: Site, folder: Path) -> str:
    """Show a folder on a web server as `/tiny`, and return its address."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    site.files = {f"/tiny/{quote(name)}": path.read_bytes() for name, path in files.items()}
    return f"{site.url}/tiny"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A bundle."""
    return write_bundle(tmp_path / "made" / "tiny")


@pytest.fixture
def published(tiny: Path, tmp_path: Path) -> Path:
    """The bundle, published to a folder."""
    publish_main([str(tiny), "--to", str(tmp_path / "published" / "tiny")])
    return tmp_path / "published" / "tiny"


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server that misbehaves on request."""
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is faked: nobody waits between attempts."""
    for module in ("fetch", "links"):
        monkeypatch.setattr(f"release.publish.{module}.PAUSE_S", 0.0)
