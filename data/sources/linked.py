"""Files that a source names in `urls`, each an address with its SHA-256: what kinds that have such files share."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar

from core.errors import ConfigError, DataError
from data.sources.address import check_file_name
from data.sources.download import Receive, Wanted
from data.sources.kind import RemoteKind

if TYPE_CHECKING:
    from data.sources.config import SourceConfig
    from data.sources.shelf import Shelf


def check_urls(item: "SourceConfig", check_address: Callable[[str, str], None]) -> None:
    """Raise ConfigError if two names are equal or, as `check_address(address, where)` sees it, an address is none."""
    where = f"source {item.name}"
    for one in item.urls:
        check_address(one.url, where)
        check_file_name(one.file, url=one.url, where=where)
    if len({one.file for one in item.urls}) < len(item.urls):
        raise ConfigError(f"{where}: two of its urls end in the same name; give names that differ")


def unpinned_urls(item: "SourceConfig") -> list[str]:
    """The urls without a hash, by their place in the source."""
    return [f"urls.{index}.sha256" for index, one in enumerate(item.urls) if not one.sha256]


def wanted_urls(
    item: "SourceConfig", *, receiver: Callable[[str], Receive], is_evidence: Callable[[str], bool]
) -> Iterator[Wanted]:
    """The files of `urls`; `receiver` makes what receives an address, `is_evidence` decides by a file's name."""
    for index, one in enumerate(item.urls):
        yield Wanted(
            name=one.file,
            sha256=one.sha256,
            pin=f"urls.{index}.sha256",
            what=one.url,
            receive=receiver(one.url),
            is_evidence=is_evidence(one.file),
            noted={"url": one.url},
        )


class LinkedKind(RemoteKind):
    """A kind whose files are those of `urls`; evidence is one of them or, of archives, a member."""

    needed: ClassVar[tuple[str, ...]] = ("urls",)

    @abstractmethod
    def check_address(self, url: str, where: str) -> None:
        """Raise ConfigError if an address is none of this kind."""

    @abstractmethod
    def receive(self, url: str, item: "SourceConfig", shelf: "Shelf") -> Receive:
        """What receives the file at an address."""

    def check(self, item: "SourceConfig") -> None:
        """Check every address and that the files' names differ."""
        super().check(item)
        check_urls(item, self.check_address)

    def unpinned(self, item: "SourceConfig") -> list[str]:
        """The urls without a hash."""
        return unpinned_urls(item)

    def is_archive(self, members: list[str]) -> bool:
        """Archives, if members are named."""
        return bool(members)

    def evidence_members(self, item: "SourceConfig") -> list[str]:
        """Globs that no file of `urls` matches."""
        return [glob for glob in item.evidence if not any(fnmatchcase(one.file, glob) for one in item.urls)]

    def wanted(self, item: "SourceConfig", shelf: "Shelf") -> Iterator[Wanted]:
        """The files of `urls`."""
        patterns = self.evidence_members(item)
        if patterns and not item.is_archive:
            raise DataError(f"no file of its urls matches {patterns[0]!r}; correct evidence")
        yield from wanted_urls(
            item,
            receiver=lambda url: self.receive(url, item, shelf),
            is_evidence=lambda name: any(fnmatchcase(name, glob) for glob in item.evidence),
        )
