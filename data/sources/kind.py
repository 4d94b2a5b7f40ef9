"""What a kind of source is to the verbs: how it is checked, which files it is made of, and how it lies in the artifact.

A further kind is a file `data/sources/<kind>.py` with a subclass of SourceKind, and its line in data/sources/config.py.
Checks must start fast, so a client of the network is imported where something is downloaded, and not before.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from core.artifact import Facts
from core.errors import ConfigError
from data.sources.download import Wanted

if TYPE_CHECKING:
    from data.sources.config import SourceConfig
    from data.sources.shelf import Shelf

Entry = dict[str, Any]


@dataclass(slots=True)
class Taken:
    """What a source put into the artifact: entries with name, path, bytes and hash."""

    files: list[Entry] = field(default_factory=list)
    evidence: list[Entry] = field(default_factory=list)


class SourceKind(ABC):
    """A kind of source. `needed` names the fields of a source without which it is nothing; hashes come apart."""

    needed: ClassVar[tuple[str, ...]] = ()

    def check(self, item: "SourceConfig") -> None:
        """Check a source of this kind. Raises ConfigError."""
        missing = [name for name in self.needed if not attrgetter(name)(item)]
        if missing:
            raise ConfigError(f"source {item.name} of kind {item.kind.value} lacks {', '.join(missing)}; give it")

    def unpinned(self, item: "SourceConfig") -> list[str]:
        """The hashes that the recipe does not give yet, by their place in the source."""
        return []

    def is_archive(self, members: list[str]) -> bool:
        """Whether what is fetched are archives, of which members are read."""
        return False

    def contents(self, item: "SourceConfig") -> Facts:
        """What is found on this machine and decides the artifact. Raises DataError if it is not there."""
        return {}

    @abstractmethod
    def take(self, item: "SourceConfig", shelf: "Shelf", *, contents: Facts) -> Taken:
        """Put the source's files and its evidence into the artifact."""

    def pins(self, item: "SourceConfig", shelf: "Shelf") -> dict[str, str]:
        """Every hash of the source by its place in the recipe, each file being received to learn it if need be."""
        return {}


class RemoteKind(SourceKind):
    """A kind whose files are received from elsewhere, each of a hash that the recipe gives."""

    @abstractmethod
    def wanted(self, item: "SourceConfig", shelf: "Shelf") -> Iterator[Wanted]:
        """The files that a source is made of, evidence among them."""

    def take(self, item: "SourceConfig", shelf: "Shelf", *, contents: Facts) -> Taken:
        """Take every file out of the cache, where it is received first if it is not there."""
        taken = Taken()
        for wanted in self.wanted(item, shelf):
            path, sha256 = shelf.obtain(wanted)
            folder = f"{'evidence' if wanted.is_evidence else 'archives'}/{item.name}"
            entry = {**shelf.copy(path, sha256, folder=folder, name=wanted.name), **wanted.noted}
            (taken.evidence if wanted.is_evidence else taken.files).append(entry)
            if item.is_archive and not wanted.is_evidence:
                taken.evidence += shelf.take_members(path, item, patterns=self.evidence_members(item))
        return taken

    def evidence_members(self, item: "SourceConfig") -> list[str]:
        """Globs of the members of an archive that are evidence."""
        return item.evidence

    def pins(self, item: "SourceConfig", shelf: "Shelf") -> dict[str, str]:
        """Obtain every file, and tell its hash."""
        return {wanted.pin: shelf.obtain(wanted)[1] for wanted in self.wanted(item, shelf)}
