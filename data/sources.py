"""Verb fetch: brings every source to this machine, checked, with its licence and the evidence for it.

Reads section `sources`. Writes `archives/<source>/<file>`, `evidence/<source>/<file>` and `sources.json`, which says
of each source where it is from, what it hashes to, under which licence it stands, and how to read it.

Kinds: `pypi` is one named file of one exact version of a package, by SHA-256; several sources may read different
members of the same file, which is then downloaded once. `files` is a path or a glob; what decides the artifact is the
content found there, so a file that changed is noticed, and where it lies is placement. Downloads are kept in a cache,
named by their SHA-256 and checked on every use.
"""

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from core.artifact import Facts, build, plan
from core.cli import recipe_and_overrides
from core.config import PLACEMENT, RunConfig, identity, load, placement
from core.errors import ConfigError, DataError
from core.hashing import canonical_json, hash_file, hash_value
from data.archive import read_members
from data.extract import Format, OnError, ReadConfig, Split
from data.html import EXTRACTOR
from data.pypi import Attempts, Release, download
from data.warc import count_records

STAGE = "fetch"
INDEX = "sources.json"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SHA256 = re.compile(r"[0-9a-f]{64}")
SPDX = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")


class Kind(Enum):
    """Where a source comes from."""

    PYPI = "pypi"
    FILES = "files"
    WARC = "warc"


LOCAL = (Kind.FILES, Kind.WARC)


@dataclass(kw_only=True, slots=True)
class SourceConfig:
    """One source.

    license    SPDX expression for the text, `LicenseRef-...` where SPDX has no name
    license_note  what the licence rests on, in a sentence
    evidence   globs of files that show the licence: members of the archive, or files in the folder of `path`
    language   BCP 47 tag of the text
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
        needed = ("package", "version", "file", "sha256") if self.kind is Kind.PYPI else ()
        missing = [name for name in needed if not getattr(self, name)]
        if self.kind in LOCAL and self.path == Path():
            missing.append("path")
        if self.kind is Kind.PYPI and not self.read.members:
            missing.append("read.members")
        if missing:
            raise ConfigError(f"source {self.name} of kind {self.kind.value} lacks {', '.join(missing)}; give it")
        if self.kind is Kind.WARC:
            if self.read.format not in (Format.AUTO, Format.WARC):
                raise ConfigError(f"source {self.name} is a warc, not {self.read.format.value}; leave out read.format")
            self.read = replace(self.read, format=Format.WARC)

    @property
    def release(self) -> Release:
        """The file of a package that this source reads."""
        return Release(package=self.package, version=self.version, file=self.file, sha256=self.sha256)


@dataclass(kw_only=True, slots=True)
class SourcesConfig:
    """Section `sources`: the sources in order of precedence, the cache of downloads, patience with the network."""

    items: list[SourceConfig]
    cache: Path = field(default=Path("runs/cache"), metadata={PLACEMENT: True})
    attempts: int = placement(4)
    retry_wait_s: float = placement(1.0)

    def __post_init__(self) -> None:
        names = [item.name for item in self.items]
        if not names:
            raise ConfigError("sources.items is empty; name at least one source")
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ConfigError(f"source name {doubled[0]} is given twice; names must differ")
        if self.attempts < 1 or self.retry_wait_s < 0:
            raise ConfigError(
                f"sources.attempts is {self.attempts} and retry_wait_s {self.retry_wait_s}; give at least 1 and 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A fetched source as its readers need it: its name, its files, and how to read them."""

    name: str
    is_archive: bool
    read: ReadConfig
    files: list[tuple[str, Path]]


@dataclass(frozen=True, slots=True)
class Found:
    """Local files of a source: name relative to the folder of the glob, path, SHA-256; evidence likewise."""

    files: list[tuple[str, Path, str]]
    evidence: list[tuple[str, Path, str]]

    def contents(self) -> Facts:
        """Names and hashes, which decide the artifact."""
        return {
            "files": [[name, sha256] for name, _, sha256 in self.files],
            "evidence": [[name, sha256] for name, _, sha256 in self.evidence],
        }


def main(arguments: list[str]) -> None:
    """Run the verb: make or find the fetch artifact and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data fetch")
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "sources", SourcesConfig, overrides)
    local = {item.name: find_files(item) for item in config.items if item.kind in LOCAL}
    contents = {name: found.contents() for name, found in local.items()}
    # What extracts pages decides the text that the next stage reads, so a new version must remake both.
    facts = {**identity(config), "contents": contents, "extractor": EXTRACTOR}
    wanted = plan(STAGE, folder="data", out=run.out_folder, config=facts, inputs={})
    artifact = build(wanted, partial(write, config=config, local=local))
    sys.stdout.write(f"{artifact.folder}\n")


def open_sources(folder: Path) -> list[Source]:
    """The sources of a fetch artifact, in the recipe's order."""
    return [
        Source(
            name=record["name"],
            is_archive=record["kind"] == Kind.PYPI.value,
            read=_read_config(record["read"]),
            files=[(entry["name"], folder / entry["path"]) for entry in record["files"]],
        )
        for record in json.loads((folder / INDEX).read_bytes())
    ]


def _read_config(record: dict[str, Any]) -> ReadConfig:
    choices = {
        "format": Format(record["format"]),
        "split": Split(record["split"]),
        "on_error": OnError(record["on_error"]),
    }
    return ReadConfig(**{**record, **choices})


def find_files(item: SourceConfig) -> Found:
    """The files that a `files` source names, and its evidence, by name. Raises DataError if one is missing."""
    base, pattern = _split_glob(item.path)
    files = _hashed(base, [pattern], source=item.name)
    if item.sha256 and (len(files) != 1 or files[0][2] != item.sha256):
        there = files[0][2] if len(files) == 1 else f"{len(files)} files"
        raise DataError(f"source {item.name}: {item.path} is {there}, the recipe wants SHA-256 {item.sha256}")
    return Found(files, _hashed(base, item.evidence, source=item.name))


def _split_glob(path: Path) -> tuple[Path, str]:
    """The folder before the first part with a wildcard, and the rest as a glob."""
    parts = path.parts
    wild = next((index for index, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts) - 1)
    return Path(*parts[:wild]), Path(*parts[wild:]).as_posix()


def _hashed(base: Path, patterns: Iterable[str], *, source: str) -> list[tuple[str, Path, str]]:
    found: dict[str, Path] = {}
    for pattern in patterns:
        paths = [path for path in base.glob(pattern) if path.is_file()]
        if not paths:
            raise DataError(f"source {source}: no file matches {base / pattern}; correct the path")
        found |= {path.relative_to(base).as_posix(): path for path in paths}
    return [(name, path, hash_file(path)) for name, path in sorted(found.items())]


def write(aside: Path, *, config: SourcesConfig, local: dict[str, Found]) -> Facts:
    """Fill the artifact's folder and return its facts."""
    records = []
    counts: dict[str, dict[str, int]] = {}
    for item in config.items:
        if item.kind is Kind.PYPI:
            files, evidence = _take_release(item, aside, config=config)
        else:
            files, evidence = _take_files(item, aside, found=local[item.name])
        record = _record(item, files=files, evidence=evidence)
        if item.kind is Kind.WARC:
            counts[item.name] = record["records"] = _count_records(files, aside=aside)
        records.append(record)
    (aside / INDEX).write_bytes(canonical_json(records))
    pinned = {(record["sha256"], record["bytes"]) for record in records}
    size_mb = sum(size for _, size in pinned) / 1e6
    return {
        "came_in": f"{len(records)} sources by exact hash",
        "went_out": f"{len(pinned)} files or sets of files, {size_mb:.1f} MB, with licences and their evidence",
        **({"records": counts} if counts else {}),
    }


Entry = dict[str, Any]


def _take_release(item: SourceConfig, aside: Path, *, config: SourcesConfig) -> tuple[list[Entry], list[Entry]]:
    """Copy a package's file out of the cache, read it once to see that it is sound, and copy its evidence."""
    cached = cached_release(item.release, config=config)
    files = [_copy(cached, item.sha256, aside=aside, folder=f"archives/{item.name}", name=item.file)]
    evidence = []
    for name, content in read_members(cached, [*item.read.members, *item.evidence]):
        if any(fnmatchcase(name, pattern) for pattern in item.evidence):
            evidence.append(_write(content, aside=aside, folder=f"evidence/{item.name}", name=name))
    return files, evidence


def cached_release(release: Release, *, config: SourcesConfig) -> Path:
    """The path of a release in the cache, downloaded if it is not there or not what its name says."""
    config.cache.mkdir(parents=True, exist_ok=True)
    path = config.cache / f"{release.sha256}-{release.file}"
    if not path.exists() or hash_file(path) != release.sha256:
        download(release, path, attempts=Attempts(count=config.attempts, wait_s=config.retry_wait_s))
    return path


def _take_files(item: SourceConfig, aside: Path, *, found: Found) -> tuple[list[Entry], list[Entry]]:
    files = [
        _copy(path, sha256, aside=aside, folder=f"archives/{item.name}", name=name)
        for name, path, sha256 in found.files
    ]
    evidence = [
        _copy(path, sha256, aside=aside, folder=f"evidence/{item.name}", name=name)
        for name, path, sha256 in found.evidence
    ]
    return files, evidence


def _count_records(files: list[Entry], *, aside: Path) -> dict[str, int]:
    """Read every WARC of a source to its end, so that a damaged one stops here, and count its records by outcome."""
    total: Counter[str] = Counter()
    for entry in files:
        with (aside / entry["path"]).open("rb") as stream:
            total += count_records(stream, name=entry["name"])
    return dict(sorted(total.items()))


def _copy(path: Path, sha256: str, *, aside: Path, folder: str, name: str) -> Entry:
    target = _target(aside, folder, name)
    shutil.copyfile(path, target)
    if hash_file(target) != sha256:
        raise DataError(f"{path} changed while it was read; let it rest and run the stage again")
    return {"name": name, "path": f"{folder}/{name}", "bytes": target.stat().st_size, "sha256": sha256}


def _write(content: bytes, *, aside: Path, folder: str, name: str) -> Entry:
    target = _target(aside, folder, name)
    target.write_bytes(content)
    return {"name": name, "path": f"{folder}/{name}", "bytes": len(content), "sha256": hash_file(target)}


def _target(aside: Path, folder: str, name: str) -> Path:
    """Where a file goes. Raises DataError for a member's name that would lead out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"member {name!r} would lie outside of its folder; do not trust this archive")
    target = aside / folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _record(item: SourceConfig, *, files: list[Entry], evidence: list[Entry]) -> Entry:
    is_one = len(files) == 1
    return {
        "name": item.name,
        "kind": item.kind.value,
        "package": item.package,
        "version": item.version,
        "file": files[0]["name"] if is_one else f"{len(files)} files",
        "bytes": sum(entry["bytes"] for entry in files),
        "sha256": files[0]["sha256"] if is_one else hash_value([[e["name"], e["sha256"]] for e in files]),
        "license": item.license,
        "license_note": item.license_note,
        "language": item.language,
        "evidence": evidence,
        "files": files,
        "read": identity(item.read),
    }
