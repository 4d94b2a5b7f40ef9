"""Kind pypi: one named file of one exact version of a Python package, as an archive. Its set-up code is never run.

Several sources may read different members of the same file, which is then downloaded once.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from core.errors import ConfigError
from data.sources.address import FILE
from data.sources.download import Wanted
from data.sources.kind import RemoteKind

if TYPE_CHECKING:
    from data.sources.config import SourceConfig
    from data.sources.shelf import Shelf


class Pypi(RemoteKind):
    """A file of a package on a Python package index."""

    needed: ClassVar[tuple[str, ...]] = ("package", "version", "file", "read.members")

    def check(self, item: "SourceConfig") -> None:
        """Check that the file is named plainly."""
        super().check(item)
        if not FILE.fullmatch(item.file):
            raise ConfigError(f"source {item.name}: {item.file!r} is no plain file name; write the file's name")

    def unpinned(self, item: "SourceConfig") -> list[str]:
        """The file's hash."""
        return [] if item.sha256 else ["sha256"]

    def is_archive(self, members: list[str]) -> bool:
        """Always."""
        return True

    def wanted(self, item: "SourceConfig", shelf: "Shelf") -> Iterator[Wanted]:
        """The one file."""

        def receive(aside: Path) -> None:
            # Importing the client costs a third of a second, which only a download should pay.
            from data.sources.pypiindex import Release, download

            release = Release(package=item.package, version=item.version, file=item.file, sha256=item.sha256)
            download(release, aside, attempts=shelf.attempts)

        what = f"{item.file} of {item.package} {item.version}"
        yield Wanted(name=item.file, sha256=item.sha256, pin="sha256", what=what, receive=receive)
