import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.artifact import current
from core.errors import ConfigError, DataError, RetryError
from core.hashing import hash_file
from data.clean import main as clean_main
from data.documents import read_documents
from data.reading.archive import read_members
from data.sources.debian import Package, download_package
from data.sources.download import Attempts, keep
from data.sources.fetch import main as fetch_main
from tests.conftest import run_module

TOOLS = ("apt-get", "apt-cache", "dpkg-deb")
ATTEMPTS = Attempts(count=2, wait_s=0.01)
CONTROL = "Package: tinydoc\nVersion: {version}\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: x\n"
TRAP = "#!/bin/sh\ntouch /tmp/wholegrain-maintainer-script-ran\nexit 1\n"

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason="apt and dpkg-deb are not on this machine"
)


def build_deb(folder: Path, *, version: str, compression: str = "xz", text: str = "One page of manual.") -> Path:
    """A package with a page, the same page by a hard and a symbolic link, and an install script that is a trap."""
    root = folder / "root"
    docs = root / "usr/share/doc/tinydoc"
    (docs / "html").mkdir(parents=True)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(CONTROL.format(version=version))
    (root / "DEBIAN/preinst").write_text(TRAP)
    (root / "DEBIAN/preinst").chmod(0o755)
    (docs / "copyright").write_text("License: public-domain\n")
    (docs / "html/a.html").write_text(f"<html><body><p>{text}</p></body></html>")
    (docs / "html/b.html").hardlink_to(docs / "html/a.html")
    (docs / "html/c.html").symlink_to("a.html")
    path = folder / f"tinydoc_{version.replace(':', '%3a')}.deb"
    command = ["dpkg-deb", f"-Z{compression}", "--root-owner-group", "--build", str(root), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(root)
    return path


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real apt, through its own APT_CONFIG, that knows one repository: a folder with version 1:2.0-1 of a package."""
    folder, apt = tmp_path / "repository", tmp_path / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (apt / name).mkdir(parents=True)
    folder.mkdir()
    build_deb(folder, version="1:2.0-1")
    list_packages(folder)
    (apt / "sources.list").write_text(f"deb [trusted=yes] copy:{folder} ./\n")
    settings = {
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": apt / "cache",
    }
    (apt / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    monkeypatch.setenv("APT_CONFIG", str(apt / "apt.conf"))
    subprocess.run(["apt-get", "-q", "update"], check=True, capture_output=True)
    yield folder


def list_packages(folder: Path) -> None:
    rows = []
    for path in sorted(folder.glob("*.deb")):
        control = subprocess.run(["dpkg-deb", "-f", str(path)], check=True, capture_output=True, text=True).stdout
        rows.append(f"{control}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {hash_file(path)}\n")
    (folder / "Packages").write_text("\n".join(rows))


WANTED = Package(name="tinydoc", version="1:2.0-1")


def sha256_of(repository: Path) -> str:
    return hash_file(next(repository.glob("*.deb")))


def write_recipe(folder: Path, wanted: Package, sha256: str) -> Path:
    path = folder / "debian.yaml"
    path.write_text(
        f"""\
run: {{name: x, out: {folder / "runs"}}}
sources:
  cache: {folder / "cache"}
  attempts: 2
  retry_wait_s: 0.01
  items:
    - {{name: doc, kind: debian, package: {wanted.name}, version: '{wanted.version}', sha256: {sha256},
       license: LicenseRef-Public-Domain, language: en, read: {{members: ['usr/share/doc/*.html']}}}}
data: {{}}
clean: {{seed: 1, heldout_permille: 0, filters: {{min_chars: 0, min_words: 0}}}}
""",
        encoding="utf-8",
    )
    return path


def download(package: Package, target: Path) -> None:
    def receive(aside: Path) -> None:
        download_package(package, aside, attempts=ATTEMPTS)

    keep(target, "0" * 64, what=str(package), receive=receive)


def test_a_package_is_fetched_read_and_never_installed(repository: Path, tmp_path: Path) -> None:
    recipe = str(write_recipe(tmp_path, WANTED, sha256_of(repository)))
    fetch_main([recipe])
    artifact = current(tmp_path / "runs", "fetch")
    assert [entry["path"] for entry in artifact.record["files"]] == [
        "archives/doc/tinydoc_1%3a2.0-1.deb",
        "evidence/doc/usr/share/doc/tinydoc/copyright",
        "sources.json",
    ]
    clean_main([recipe])
    documents = list(read_documents(current(tmp_path / "runs", "clean").folder / "train" / "doc-00000.jsonl"))
    assert [(one.text, one.origin) for one in documents] == [
        ("One page of manual.", "usr/share/doc/tinydoc/html/a.html")
    ]
    assert not Path("/tmp/wholegrain-maintainer-script-ran").exists()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{sha256_of(repository)}-tinydoc_1%3a2.0-1.deb"]


@pytest.mark.parametrize("compression", ["xz", "zstd", "gzip", "none"])
def test_every_compression_of_a_package_is_read_with_its_hard_links(tmp_path: Path, compression: str) -> None:
    made = build_deb(tmp_path, version="1", compression=compression)
    assert [name for name, _ in read_members(made, ["*.html"])] == [
        f"usr/share/doc/tinydoc/html/{name}.html" for name in "ab"
    ]
    content = made.read_bytes()
    for cut in (70, len(content) // 2, len(content) - 40):
        made.write_bytes(content[:cut])
        with pytest.raises(DataError, match="damaged"):
            list(read_members(made, ["*.html"]))


def test_a_version_that_is_gone_is_one_clear_line_and_exit_66(repository: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, replace(WANTED, version="1.0-1"), sha256_of(repository))
    finished = run_module("data", "fetch", recipe, env=dict(os.environ))
    assert finished.returncode == 66
    assert finished.stderr == (
        "error: source doc: version gone: apt can no longer get Debian package tinydoc 1.0-1; "
        "its indexes have 1:2.0-1; choose one of these and its hash\n"
    )
    assert list((tmp_path / "cache").iterdir()) == []
    assert not list((tmp_path / "runs").glob("fetch*"))


def test_a_version_that_only_old_indexes_know_is_gone_too(repository: Path, tmp_path: Path) -> None:
    next(repository.glob("*.deb")).unlink()
    with pytest.raises(DataError, match=r"version gone: .*run apt-get update"):
        download_package(WANTED, tmp_path / "a.deb", attempts=ATTEMPTS)


def test_an_unknown_package_and_a_wrong_hash_are_bad_data(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="apt knows no package nosuchdoc"):
        download(Package(name="nosuchdoc", version="1"), tmp_path / "c" / "a.deb")
    with pytest.raises(DataError, match=rf"has SHA-256 {sha256_of(repository)}, the recipe wants 0000"):
        download(WANTED, tmp_path / "c" / "a.deb")
    assert list((tmp_path / "c").iterdir()) == []


def test_a_file_swapped_in_the_repository_is_refused_by_apt_and_shows_no_address(
    repository: Path, tmp_path: Path
) -> None:
    path = next(repository.glob("*.deb"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises((RetryError, DataError)) as caught:
        download(WANTED, tmp_path / "c" / "a.deb")
    assert str(repository) not in str(caught.value)
    assert list((tmp_path / "c").iterdir()) == []


@pytest.mark.parametrize(("name", "version"), [("-o", "1"), ("tinydoc", "-1"), ("Tiny doc", "1"), ("a/b", "1")])
def test_what_apt_would_take_for_an_option_is_refused(name: str, version: str) -> None:
    with pytest.raises(ConfigError, match="is no Debian package"):
        Package(name=name, version=version).check(source="x")
