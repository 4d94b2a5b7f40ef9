"""Puts files of sources into the fetch artifact, out of the cache, and has them received if they are not there."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from core.artifact import WITNESS
from core.durable import HALF_WRITTEN
from core.errors import DataError
from core.hashing import canonical_json, hash_file
from data.reading.archive import read_members
from data.sources.download import Attempts, Receive, Wanted, is_kept, keep, learn
from data.sources.kind import Entry

if TYPE_CHECKING:
    from data.sources.config import SourceConfig, SourcesConfig
    from data.sources.httpfile import Web


@dataclass(slots=True)
class Shelf:
    """Where files of sources go; without a folder, where they are only looked at to learn their hashes."""

    config: "SourcesConfig"
    folder: Path | None = None
    _web: "Web | None" = None
    _laid: dict[str, Path] = field(default_factory=dict)

    @property
    def attempts(self) -> Attempts:
        """How patient to be."""
        return self.config.patience

    @property
    def cache(self) -> Path:
        """The cache of downloads."""
        return self.config.cache

    def obtain(self, wanted: Wanted) -> tuple[Path, str]:
        """The path of a file in the cache and its hash; it is received if it is not there or not what its name says."""
        sha256 = wanted.sha256 or learn(self.cache, wanted.name, receive=wanted.receive)
        path = self.cache / f"{sha256}-{wanted.name}"
        if not is_kept(path, sha256):
            keep(path, sha256, what=wanted.what, receive=wanted.receive)
        return path, sha256

    def from_web(self, url: str) -> Receive:
        """What receives a file of the web; the ETag that it comes with is noted."""

        def receive(aside: Path) -> None:
            self.note("etags.json", {url: self._open_web().receive(url, aside)})

        return receive

    def _open_web(self) -> "Web":
        # One client for all sources: it keeps its distance to each host. It costs a fifth of a second to import.
        from data.sources.httpfile import Web

        self._web = self._web or Web(self.config.manners)
        return self._web

    def note(self, name: str, facts: Mapping[str, str]) -> None:
        """Note what a server said: a witness of its state, which no result may depend on."""
        if self.folder is None:
            return
        path = self.folder / WITNESS / name
        path.parent.mkdir(exist_ok=True)
        noted = json.loads(path.read_bytes()) if path.exists() else {}
        path.write_bytes(canonical_json({**noted, **facts}))

    def copy(self, path: Path, sha256: str, *, folder: str, name: str) -> Entry:
        """Copy a file into the artifact, once for all sources. Raises DataError if it is not what its hash says."""
        target = self._target(folder, name)
        if sha256 not in self._laid or not _is_linked(target, self._laid[sha256]):
            shutil.copyfile(path, target)
            if hash_file(target) != sha256:
                raise DataError(f"{path} changed while it was read; let it rest and run the stage again")
            self._laid[sha256] = target
        return {"name": name, "path": f"{folder}/{name}", "bytes": target.stat().st_size, "sha256": sha256}

    def take_members(self, archive: Path, item: "SourceConfig", *, patterns: list[str]) -> list[Entry]:
        """Read an archive once, to see that it is sound and has what the recipe names, and copy its evidence."""
        entries = []
        for name, content in read_members(archive, [*item.read.members, *patterns], excluded=item.read.excluded):
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                target = self._target(f"evidence/{item.name}", name)
                target.write_bytes(content)
                path = f"evidence/{item.name}/{name}"
                entries.append({"name": name, "path": path, "bytes": len(content), "sha256": hash_file(target)})
        return entries

    def _target(self, folder: str, name: str) -> Path:
        """Where a file goes. Raises DataError for a name that would lead out of the folder, or be lost on the way."""
        assert self.folder is not None
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise DataError(f"member {name!r} would lie outside of its folder; do not trust this archive")
        if WITNESS in path.parts or path.match(HALF_WRITTEN):
            raise DataError(f"{name!r} has a name that artifacts keep for themselves; leave it out or rename it")
        target = self.folder / folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def _is_linked(target: Path, laid: Path) -> bool:
    """Give a file a second name; false where the file system has no such thing."""
    try:
        target.hardlink_to(laid)
    except OSError:
        return False
    return True
