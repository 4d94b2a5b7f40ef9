"""Section `sources` of a recipe: where each source comes from, its licence, and how it is read."""

import re
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from core.config import PLACEMENT, placement
from core.errors import ConfigError
from data.reading.extract import Format, ReadConfig
from data.sources.debian import Package
from data.sources.download import Attempts
from data.sources.httpfile import Link, Manners
from data.sources.pypi import Release

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SHA256 = re.compile(r"[0-9a-f]{64}")
SPDX = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")

FILE = re.compile(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*")
NEEDED = {
    "pypi": ("package", "version", "file", "sha256"),
    "debian": ("package", "version", "sha256"),
    "http": ("urls",),
}


class Kind(Enum):
    """Where a source comes from."""

    PYPI = "pypi"
    DEBIAN = "debian"
    FILES = "files"
    WARC = "warc"
    HTTP = "http"


LOCAL = (Kind.FILES, Kind.WARC)
ARCHIVES = (Kind.PYPI, Kind.DEBIAN)


def is_archive(kind: Kind, members: list[str]) -> bool:
    """Whether what a source brings are archives, of which members are read."""
    return kind in ARCHIVES or (kind is Kind.HTTP and bool(members))


@dataclass(kw_only=True, slots=True)
class UrlConfig:
    """A file on the web: its address, its SHA-256, and its name here, by default the last part of the address."""

    url: str
    sha256: str
    name: str = ""

    @property
    def link(self) -> Link:
        """The file as what downloads it needs it."""
        return Link(self.url, self.sha256)

    @property
    def file(self) -> str:
        """The file's name here; its ending tells the format."""
        return self.name or PurePosixPath(unquote(urlsplit(self.url).path)).name

    def check(self, *, source: str) -> None:
        """Raise ConfigError if address, hash or name are none."""
        self.link.check(source=source)
        if not SHA256.fullmatch(self.sha256):
            raise ConfigError(f"source {source}: sha256 {self.sha256!r} is not 64 lower-case hex digits; write all")
        if not FILE.fullmatch(self.file):
            raise ConfigError(f"source {source}: {self.file!r} of {self.url} is no plain file name; give a name")


@dataclass(kw_only=True, slots=True)
class SourceConfig:
    """One source.

    license    SPDX expression for the text, `LicenseRef-...` where SPDX has no name
    license_note  what the licence rests on, in a sentence
    evidence   globs of files that show the licence: members of the archive, or files in the folder of `path`; for a
               Debian package its copyright file if none are given
    language   BCP 47 tag of the text
    urls       http only: the files; they are read as archives if `read.members` says which members
    path       files and warc only: a file or a glob, taken from the current directory
    sha256     of the package's file; of the file at `path`, where it is one file and should be pinned
    """

    name: str
    kind: Kind
    license: str
    language: str
    license_note: str = ""
    evidence: list[str] = field(default_factory=list)
    package: str = ""
    version: str = ""
    file: str = ""
    sha256: str = ""
    urls: list[UrlConfig] = field(default_factory=list)
    path: Path = field(default=Path(), metadata={PLACEMENT: True})
    read: ReadConfig = field(default_factory=ReadConfig)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"source name {self.name!r} is not lower-case words joined by hyphens; rename the source")
        if not SPDX.fullmatch(self.license):
            raise ConfigError(
                f"source {self.name}: license {self.license!r} is not an SPDX expression; write it as one"
            )
        if self.sha256 and not SHA256.fullmatch(self.sha256):
            raise ConfigError(f"source {self.name}: sha256 {self.sha256!r} is not 64 lower-case hex digits; write all")
        missing = [name for name in NEEDED.get(self.kind.value, ()) if not getattr(self, name)]
        if self.kind in LOCAL and self.path == Path():
            missing.append("path")
        if self.kind in ARCHIVES and not self.read.members:
            missing.append("read.members")
        if missing:
            raise ConfigError(f"source {self.name} of kind {self.kind.value} lacks {', '.join(missing)}; give it")
        self._check_kind()

    def _check_kind(self) -> None:
        """Check what belongs to some kinds only."""
        for one in self.urls:
            one.check(source=self.name)
        if len({one.file for one in self.urls}) < len(self.urls):
            raise ConfigError(f"source {self.name}: two of its urls end in the same name; give names that differ")
        if self.kind is Kind.DEBIAN:
            self.debian.check(source=self.name)
        if self.kind is Kind.WARC:
            if self.read.format not in (Format.AUTO, Format.WARC):
                raise ConfigError(f"source {self.name} is a warc, not {self.read.format.value}; leave out read.format")
            self.read = replace(self.read, format=Format.WARC)

    @property
    def is_archive(self) -> bool:
        """Whether what is fetched are archives, of which members are read."""
        return is_archive(self.kind, self.read.members)

    @property
    def release(self) -> Release:
        """The file of a package that this source reads."""
        return Release(package=self.package, version=self.version, file=self.file, sha256=self.sha256)

    @property
    def debian(self) -> Package:
        """The Debian package that this source reads."""
        return Package(name=self.package, version=self.version, sha256=self.sha256)


@dataclass(kw_only=True, slots=True)
class SourcesConfig:
    """Section `sources`: the sources in order of precedence, the cache of downloads, patience with the network.

    request_wait_s     http only: the least time between two requests to a host
    retry_after_max_s  http only: the longest wait that a server may ask for; the stage ends rather than wait longer
    """

    items: list[SourceConfig]
    cache: Path = field(default=Path("runs/cache"), metadata={PLACEMENT: True})
    attempts: int = placement(4)
    retry_wait_s: float = placement(1.0)
    request_wait_s: float = placement(1.0)
    retry_after_max_s: float = placement(300.0)

    def __post_init__(self) -> None:
        names = [item.name for item in self.items]
        if not names:
            raise ConfigError("sources.items is empty; name at least one source")
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ConfigError(f"source name {doubled[0]} is given twice; names must differ")
        if self.request_wait_s < 0 or self.retry_after_max_s < 0:
            raise ConfigError("sources.request_wait_s and retry_after_max_s are seconds; give at least 0")
        if self.attempts < 1 or self.retry_wait_s < 0:
            raise ConfigError(
                f"sources.attempts is {self.attempts} and retry_wait_s {self.retry_wait_s}; give at least 1 and 0"
            )

    @property
    def patience(self) -> Attempts:
        """How often and how long apart a failing network is tried."""
        return Attempts(count=self.attempts, wait_s=self.retry_wait_s)

    @property
    def manners(self) -> Manners:
        """How patient and how polite to be with servers."""
        return Manners(
            attempts=self.patience, request_wait_s=self.request_wait_s, retry_after_max_s=self.retry_after_max_s
        )
