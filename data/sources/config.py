"""Section `sources` of a recipe: where each source comes from, its licence, and how it is read."""

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from core.artifact import WITNESS
from core.config import PLACEMENT, placement
from core.errors import ConfigError
from data.reading.extract import ReadConfig
from data.sources.address import file_name
from data.sources.commoncrawl import CommonCrawl, CrawlConfig
from data.sources.debian import Debian
from data.sources.download import Attempts, Manners
from data.sources.files import Files
from data.sources.http import Http
from data.sources.huggingface import HubConfig, HuggingFace
from data.sources.kind import SourceKind
from data.sources.pypi import Pypi
from data.sources.remote import Remote
from data.sources.warc import Warc

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SHA256 = re.compile(r"[0-9a-f]{64}")
SPDX = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")


class Kind(Enum):
    """Where a source comes from."""

    PYPI = "pypi"
    DEBIAN = "debian"
    HTTP = "http"
    REMOTE = "remote"
    COMMONCRAWL = "commoncrawl"
    HUGGINGFACE = "huggingface"
    FILES = "files"
    WARC = "warc"


KINDS: dict[Kind, SourceKind] = {
    Kind.PYPI: Pypi(),
    Kind.DEBIAN: Debian(),
    Kind.HTTP: Http(),
    Kind.REMOTE: Remote(),
    Kind.COMMONCRAWL: CommonCrawl(),
    Kind.HUGGINGFACE: HuggingFace(),
    Kind.FILES: Files(),
    Kind.WARC: Warc(),
}

# Kinds whose files lie on this machine already.
LOCAL = tuple(kind for kind, how in KINDS.items() if isinstance(how, Files))


@dataclass(kw_only=True, slots=True)
class UrlConfig:
    """A file elsewhere: its address, its SHA-256, and its name here, by default the last part of the address."""

    url: str
    sha256: str = ""
    name: str = ""

    @property
    def file(self) -> str:
        """The file's name here; its ending tells the format."""
        return self.name or file_name(self.url)


@dataclass(kw_only=True, slots=True)
class SourceConfig:
    """One source.

    license    SPDX expression for the text, `LicenseRef-...` where SPDX has no name
    license_note  what the licence rests on, in a sentence
    evidence   globs of files that show the licence: members of the archive, or files in the folder of `path`; for a
               Debian package its copyright file if none are given
    language   BCP 47 tag of the text
    urls       http and remote: the files; they are read as archives if `read.members` says which members
               commoncrawl: further evidence; huggingface: files of the repository that are evidence, by path
    hub        huggingface only: which rows; `package` is the repository, `version` the revision
    crawl      commoncrawl only: which files of which crawl
    store      remote only: how to reach the store, as its client names it, for example `endpoint_override` of S3
    path       files and warc only: a file or a glob, taken from the current directory
    sha256     of the package's file; of the rows as lines of canonical JSON (huggingface); of the file at `path`, where
               it is one file and should be pinned
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
    hub: HubConfig = field(default_factory=HubConfig)
    crawl: CrawlConfig = field(default_factory=CrawlConfig)
    store: dict[str, Any] = placement(dict)
    path: Path = field(default=Path(), metadata={PLACEMENT: True})
    read: ReadConfig = field(default_factory=ReadConfig)

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"source name {self.name!r} is not lower-case words joined by hyphens; rename the source")
        if self.name == WITNESS:
            raise ConfigError(f"source name {self.name} is one that artifacts keep for themselves; rename the source")
        if not SPDX.fullmatch(self.license):
            raise ConfigError(
                f"source {self.name}: license {self.license!r} is not an SPDX expression; write it as one"
            )
        for sha256 in (self.sha256, self.crawl.sha256, *self.crawl.pins, *(one.sha256 for one in self.urls)):
            check_sha256(sha256, source=self.name)
        self.how.check(self)

    @property
    def how(self) -> SourceKind:
        """What knows this kind of source."""
        return KINDS[self.kind]

    @property
    def is_archive(self) -> bool:
        """Whether what is fetched are archives, of which members are read."""
        return self.how.is_archive(self.read.members)


def check_sha256(sha256: str, *, source: str) -> None:
    """Raise ConfigError if a hash is given and is none."""
    if sha256 and not SHA256.fullmatch(sha256):
        raise ConfigError(f"source {source}: sha256 {sha256!r} is not 64 lower-case hex digits; write all")


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
        self._check_pins()

    def _check_pins(self) -> None:
        """Refuse a source whose hashes are not all given: what it holds would be anybody's guess."""
        for item in self.items:
            missing = item.how.unpinned(item)
            if missing:
                raise ConfigError(
                    f"source {item.name} of kind {item.kind.value} lacks {', '.join(missing)}; give it, or have it "
                    "printed: python -m data pin RECIPE"
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


@dataclass(kw_only=True, slots=True)
class UnpinnedConfig(SourcesConfig):
    """Section `sources` while its hashes are being learned."""

    def _check_pins(self) -> None:
        """Take them as they are."""


def is_archive(record: dict[str, Any]) -> bool:
    """Whether a source of `sources.json` has archives, of which members are read."""
    return KINDS[Kind(record["kind"])].is_archive(record["read"]["members"])
