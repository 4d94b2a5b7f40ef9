"""Kinds files and warc: a path or a glob on this machine. What is found there by content decides the artifact, so a
file that changed is noticed; where it lies is placement."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from core.artifact import Facts
from core.errors import ConfigError, DataError
from core.hashing import hash_file
from data.sources.kind import SourceKind, Taken

if TYPE_CHECKING:
    from data.sources.config import SourceConfig
    from data.sources.shelf import Shelf


STRANGE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Files(SourceKind):
    """Files at a path or a glob; their names are relative to the folder before the first wildcard."""

    def check(self, item: "SourceConfig") -> None:
        """Check that there is a path."""
        if item.path == Path():
            raise ConfigError(f"source {item.name} of kind {item.kind.value} lacks path; give it")

    def contents(self, item: "SourceConfig") -> Facts:
        """Names and hashes of files and evidence, by name."""
        base, pattern = _split_glob(item.path)
        files = _hashed(base, [pattern])
        if item.sha256 and (len(files) != 1 or files[0][1] != item.sha256):
            there = files[0][1] if len(files) == 1 else f"{len(files)} files"
            raise DataError(f"{item.path} is {there}, the recipe wants SHA-256 {item.sha256}")
        return {"files": files, "evidence": _hashed(base, item.evidence)}

    def take(self, item: "SourceConfig", shelf: "Shelf", *, contents: Facts) -> Taken:
        """Copy what was found."""
        base, _ = _split_glob(item.path)
        files, evidence = (
            [shelf.copy(base / name, sha256, folder=f"{folder}/{item.name}", name=name) for name, sha256 in found]
            for folder, found in (("archives", contents["files"]), ("evidence", contents["evidence"]))
        )
        return Taken(files, evidence)

    def pins(self, item: "SourceConfig", shelf: "Shelf") -> dict[str, str]:
        """The file's hash, where it is one file."""
        files = self.contents(item)["files"]
        return {"sha256": files[0][1]} if len(files) == 1 else {}


def _split_glob(path: Path) -> tuple[Path, str]:
    """The folder before the first part with a wildcard, and the rest as a glob."""
    parts = path.parts
    wild = next((index for index, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts) - 1)
    return Path(*parts[:wild]), Path(*parts[wild:]).as_posix()


def _hashed(base: Path, patterns: Iterable[str]) -> list[tuple[str, str]]:
    found: dict[str, Path] = {}
    for pattern in patterns:
        paths = [path for path in base.glob(pattern) if not path.is_dir()]
        if not paths:
            raise DataError(f"no file matches {base / pattern}; correct the path")
        found |= {path.relative_to(base).as_posix(): path for path in paths}
    return [(_sound(name), _hash(path)) for name, path in sorted(found.items())]


def _sound(name: str) -> str:
    """A file's name, which goes into records and messages. Raises DataError if it breaks a line or is no Unicode."""
    if STRANGE.search(name):
        raise DataError(f"a file is named {name!r}, with line ends, control characters or no UTF-8; rename it")
    return name


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; mend the file, or correct the path") from error
