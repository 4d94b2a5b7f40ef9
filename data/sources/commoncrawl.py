"""Kind commoncrawl: files of a crawl of Common Crawl, chosen from the crawl's own list of them, each by SHA-256.

The list (`warc.paths.gz` or `wet.paths.gz`) is pinned as well and lies with the evidence: it shows what was chosen
from. Further evidence is what `urls` names. Method: https://commoncrawl.org/get-started, section on paths.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

from core.config import placement
from core.errors import ConfigError, DataError
from data.reading.compression import plain_blocks
from data.sources.address import check_file_name, check_web_address
from data.sources.download import Wanted
from data.sources.kind import RemoteKind
from data.sources.linked import check_urls, unpinned_urls, wanted_urls
from data.sources.warc import read_as_warc

if TYPE_CHECKING:
    from data.sources.config import SourceConfig
    from data.sources.shelf import Shelf

PINS = "crawl.pins"


class CrawlFiles(Enum):
    """Which files of a crawl: pages as they were served, or the text that Common Crawl found in them."""

    WARC = "warc"
    WET = "wet"


@dataclass(kw_only=True, slots=True)
class CrawlConfig:
    """Field `crawl` of a source.

    name    of the crawl, as in CC-MAIN-2026-43
    sha256  of the list of its files
    every   of the entries of the list take every so-manieth, the first one first
    first   of those take at most so many; 0 for all
    listed  instead of these two: take exactly these entries, each written as in the list
    pins    SHA-256 of each chosen file, in the order of the list
    base    where the crawl lies: the address to which the list's entries are added
    """

    name: str = ""
    files: CrawlFiles = CrawlFiles.WET
    sha256: str = ""
    every: int = 1
    first: int = 0
    listed: list[str] = field(default_factory=list)
    pins: list[str] = field(default_factory=list)
    base: str = placement("https://data.commoncrawl.org")

    def __post_init__(self) -> None:
        if self.every < 1 or self.first < 0:
            raise ConfigError(f"crawl.every is {self.every} and crawl.first {self.first}; give at least 1 and 0")
        if self.listed and (self.every > 1 or self.first):
            raise ConfigError("crawl.listed names the entries; leave out crawl.every and crawl.first")

    @property
    def list_path(self) -> str:
        """Where the list lies below the base."""
        return f"crawl-data/{self.name}/{self.files.value}.paths.gz"

    def address(self, path: str) -> str:
        """The address of an entry."""
        return f"{self.base.rstrip('/')}/{path}"


class CommonCrawl(RemoteKind):
    """Web archives of a crawl."""

    needed: ClassVar[tuple[str, ...]] = ("crawl.name",)

    def check(self, item: "SourceConfig") -> None:
        """Check the choice and the addresses."""
        super().check(item)
        where = f"source {item.name}"
        crawl = item.crawl
        check_file_name(crawl.name, url="crawl.name", where=where)
        check_web_address(crawl.base, where=where)
        check_urls(item, lambda url, where: check_web_address(url, where=where))
        if not (crawl.listed or crawl.first or crawl.every > 1):
            raise ConfigError(
                f"{where} would take all files of the crawl, some tens of thousands; say which: crawl.first, "
                "crawl.every or crawl.listed"
            )
        if item.evidence:
            raise ConfigError(f"{where}: a crawl has no member {item.evidence[0]!r}; name evidence's address in urls")
        read_as_warc(item)

    def unpinned(self, item: "SourceConfig") -> list[str]:
        """The hashes of the list, of the files and of the evidence."""
        of_list = [] if item.crawl.sha256 else ["crawl.sha256"]
        return [*of_list, *([] if item.crawl.pins else [PINS]), *unpinned_urls(item)]

    def wanted(self, item: "SourceConfig", shelf: "Shelf") -> Iterator[Wanted]:
        """The list, the files chosen from it, and further evidence."""
        crawl = item.crawl
        listing = Wanted(
            name=f"{crawl.name}-{crawl.files.value}.paths.gz",
            sha256=crawl.sha256,
            pin="crawl.sha256",
            what=crawl.address(crawl.list_path),
            receive=shelf.from_web(crawl.address(crawl.list_path)),
            is_evidence=True,
            noted={"url": crawl.list_path},
        )
        yield listing
        paths = _chosen(crawl, _read_list(shelf.obtain(listing)[0]))
        for index, path in enumerate(paths):
            yield Wanted(
                name=PurePosixPath(path).name,
                sha256=crawl.pins[index] if crawl.pins else "",
                pin=f"{PINS}.{index}",
                what=crawl.address(path),
                receive=shelf.from_web(crawl.address(path)),
                noted={"url": path},
            )
        yield from wanted_urls(item, receiver=shelf.from_web, is_evidence=lambda _: True)

    def pins(self, item: "SourceConfig", shelf: "Shelf") -> dict[str, str]:
        """The hashes of the files as one list, which may replace that of the recipe."""
        found = RemoteKind.pins(self, item, shelf)
        files = [value for place, value in found.items() if place.startswith(PINS)]
        others = {place: value for place, value in found.items() if not place.startswith(PINS)}
        return {**others, PINS: f"[{','.join(files)}]"}


def _read_list(path: Path) -> list[str]:
    """The entries of a list. Raises DataError for one that is no path below the base."""
    with path.open("rb") as stream:
        entries = b"".join(plain_blocks(stream, path.name)).decode(errors="replace").split()
    names = [PurePosixPath(entry).name for entry in entries]
    for entry in entries:
        if "://" in entry or entry.startswith("/") or ".." in PurePosixPath(entry).parts:
            raise DataError(f"{path.name} lists {entry!r}, which is no path of a crawl; look at crawl.name and base")
    if len(set(names)) < len(names):
        raise DataError(f"{path.name} lists a file name twice; take entries of one list")
    return entries


def _chosen(crawl: CrawlConfig, entries: list[str]) -> list[str]:
    """The entries that the recipe chooses. Raises DataError if there are not as many as it says, or as its pins."""
    strange = sorted(set(crawl.listed) - set(entries))
    if strange:
        raise DataError(f"the list of {crawl.name} has no entry {strange[0]}; it has {len(entries)} others")
    wanted = set(crawl.listed)
    chosen = [entry for entry in entries if entry in wanted] if wanted else entries[:: crawl.every]
    if crawl.first and len(chosen) < crawl.first:
        raise DataError(f"the list of {crawl.name} offers {len(chosen)} entries, not {crawl.first}; set crawl.first")
    chosen = chosen[: crawl.first or None]
    if crawl.pins and len(crawl.pins) != len(chosen):
        raise DataError(
            f"crawl.pins has {len(crawl.pins)} hashes for {len(chosen)} files; print them: python -m data pin RECIPE"
        )
    return chosen
