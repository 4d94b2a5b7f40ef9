"""Kind debian: one exact version of a Debian package, downloaded through apt and read as an archive.

Nothing is installed or run.

apt is the machine's own, with its sources, proxies and keys; APT_CONFIG names another configuration, as apt does it
(the tests have a repository of their own there). Its messages may hold an address with a password: none is shown.
The evidence for its licence is its copyright file (Debian
Policy 12.5). A mirror drops a version when the next one comes: what is pinned here may be gone in a month.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from core.errors import ConfigError, DataError, RetryError
from data.sources.download import Attempts, Wanted
from data.sources.kind import RemoteKind

if TYPE_CHECKING:
    from data.sources.config import SourceConfig
    from data.sources.shelf import Shelf

NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9-]+)?")
VERSION = re.compile(r"[0-9][A-Za-z0-9.+:~-]*")
ADDRESS = re.compile(r"\S+:/\S+")
GONE = re.compile(r"Version '.*' for '.*' was not found|\b404 +Not Found|\(2: No such file or directory\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One version of a Debian package; the name may end in `:architecture`."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"Debian package {self.name} {self.version}"

    @property
    def file(self) -> str:
        """The name of its file here."""
        return f"{self.name}_{self.version}.deb".replace(":", "%3a")

    @property
    def copyright(self) -> str:
        """The member that says under which licences it stands."""
        return f"usr/share/doc/{self.name.partition(':')[0]}/copyright"

    def check(self, *, source: str) -> None:
        """Raise ConfigError if name or version are none: apt would take them for something else."""
        if not NAME.fullmatch(self.name) or not VERSION.fullmatch(self.version):
            raise ConfigError(
                f"source {source}: {self.name!r} {self.version!r} is no Debian package and version; write it as apt"
            )


class Debian(RemoteKind):
    """A Debian package, which holds a tar."""

    needed: ClassVar[tuple[str, ...]] = ("package", "version", "read.members")

    def check(self, item: "SourceConfig") -> None:
        """Check that apt would take package and version for such."""
        super().check(item)
        _package(item).check(source=item.name)

    def unpinned(self, item: "SourceConfig") -> list[str]:
        """The file's hash."""
        return [] if item.sha256 else ["sha256"]

    def is_archive(self, members: list[str]) -> bool:
        """Always."""
        return True

    def evidence_members(self, item: "SourceConfig") -> list[str]:
        """The copyright file, if nothing else is named."""
        return item.evidence or [_package(item).copyright]

    def wanted(self, item: "SourceConfig", shelf: "Shelf") -> Iterator[Wanted]:
        """The package's file."""
        package = _package(item)

        def receive(aside: Path) -> None:
            download_package(package, aside, attempts=shelf.attempts)

        yield Wanted(name=package.file, sha256=item.sha256, pin="sha256", what=str(package), receive=receive)


def _package(item: "SourceConfig") -> Package:
    return Package(name=item.package, version=item.version)


def download_package(package: Package, target: Path, *, attempts: Attempts) -> None:
    """Download a package to `target`, as apt verifies it.

    Raises DataError if its version is gone, RetryError if apt keeps failing, ConfigError if there is no apt.
    """
    if shutil.which("apt-get") is None:
        raise ConfigError(f"{package} needs apt-get, which this machine lacks; fetch it on a Debian")
    with tempfile.TemporaryDirectory(prefix=".apt-", dir=target.parent) as scratch:
        _persist(package, Path(scratch), attempts=attempts)
        found = sorted(Path(scratch).glob("*.deb"))
        if len(found) != 1:
            raise DataError(f"apt-get brought {len(found)} files for {package}; look at its configuration")
        found[0].replace(target)


def _persist(package: Package, folder: Path, *, attempts: Attempts) -> None:
    for number in range(1, attempts.count + 1):
        answer = _apt("apt-get", "-q", "download", f"{package.name}={package.version}", folder=folder)
        if answer.returncode == 0:
            return
        failures = [line for line in answer.stderr.splitlines() if line.startswith("E:")] or ["E: no reason given"]
        if any("Unable to locate package" in line for line in failures):
            raise DataError(f"apt knows no package {package.name}; run apt-get update, or take another source")
        if any(map(GONE.search, failures)):
            raise DataError(f"version gone: apt can no longer get {package}; {_versions(package, folder)}")
        if number < attempts.count:
            time.sleep(attempts.pause_s(number))
    reason = ADDRESS.sub("...", failures[0].removeprefix("E: "))
    raise RetryError(f"{package} could not be fetched in {attempts.count} attempts, last: {reason}; try again later")


def _versions(package: Package, folder: Path) -> str:
    listed = _apt("apt-cache", "madison", package.name, folder=folder).stdout.splitlines()
    found = sorted({line.split("|")[1].strip() for line in listed if line.count("|") >= 2} - {package.version})
    if not found:
        return "run apt-get update and see which versions it has then"
    return f"its indexes have {', '.join(found)}; choose one of these and its hash"


def _apt(*command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
