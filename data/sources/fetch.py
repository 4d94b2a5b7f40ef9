"""Verb fetch: brings every source to this machine, checked, with its licence and the evidence for it.

Reads section `sources`. Writes `archives/<source>/<file>`, `evidence/<source>/<file>` and `sources.json`, which says
of each source where it is from, what it hashes to, under which licence it stands, and how to read it.

Kinds: `pypi` is one named file of one exact version of a package, by SHA-256; several sources may read different
members of the same file, which is then downloaded once. `files` is a path or a glob; what decides the artifact is the
content found there, so a file that changed is noticed, and where it lies is placement. `warc` is the same for web
archives, whose records are counted. `debian` is one version of a package, `http` a list of addresses, both by SHA-256.
Downloads are kept in a cache, named by their SHA-256 and checked on every use.
"""

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from core.artifact import WITNESS, Facts, build, plan
from core.cli import recipe_and_overrides
from core.config import RunConfig, identity, load
from core.errors import DataError
from core.hashing import canonical_json, hash_file, hash_value
from data.reading.archive import read_members
from data.reading.extract import Format, OnError, ReadConfig, Split
from data.reading.html import EXTRACTOR
from data.reading.warc import count_records
from data.sources.config import ARCHIVES, LOCAL, Kind, SourceConfig, SourcesConfig, is_archive
from data.sources.debian import download_package
from data.sources.download import is_kept
from data.sources.httpfile import Web
from data.sources.pypi import download

STAGE = "fetch"
INDEX = "sources.json"


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
            is_archive=is_archive(Kind(record["kind"]), record["read"]["members"]),
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
    web = Web(config.manners)
    for item in config.items:
        if item.kind is Kind.HTTP:
            files, evidence = _take_urls(item, aside, web=web, config=config)
        elif item.kind in ARCHIVES:
            files, evidence = _take_archive(item, aside, config=config)
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


def _take_archive(item: SourceConfig, aside: Path, *, config: SourcesConfig) -> tuple[list[Entry], list[Entry]]:
    """Copy a package's file out of the cache, and its evidence out of it."""
    name = item.file or item.debian.file
    cached = cached_archive(item, name, config=config)
    files = [_copy(cached, item.sha256, aside=aside, folder=f"archives/{item.name}", name=name)]
    patterns = item.evidence or ([item.debian.copyright] if item.kind is Kind.DEBIAN else [])
    return files, _take_evidence(cached, item, patterns, aside=aside)


def cached_archive(item: SourceConfig, name: str, *, config: SourcesConfig) -> Path:
    """The path of a package's file in the cache, downloaded if it is not there or not what its name says."""
    path = config.cache / f"{item.sha256}-{name}"
    if not is_kept(path, item.sha256):
        if item.kind is Kind.PYPI:
            download(item.release, path, attempts=config.patience)
        else:
            download_package(item.debian, path, attempts=config.patience)
    return path


def _take_urls(item: SourceConfig, aside: Path, *, web: Web, config: SourcesConfig) -> tuple[list[Entry], list[Entry]]:
    """Copy files of the web out of the cache; evidence is one of them or, of archives, a member."""
    files: list[Entry] = []
    evidence: list[Entry] = []
    patterns = [glob for glob in item.evidence if not any(fnmatchcase(one.file, glob) for one in item.urls)]
    if patterns and not item.is_archive:
        raise DataError(f"source {item.name}: no file of its urls matches {patterns[0]!r}; correct evidence")
    for one in item.urls:
        cached = config.cache / f"{one.sha256}-{one.file}"
        if not is_kept(cached, one.sha256):
            _note_etag(aside, one.url, web.download(one.link, cached))
        is_evidence = any(fnmatchcase(one.file, glob) for glob in item.evidence)
        folder = f"{'evidence' if is_evidence else 'archives'}/{item.name}"
        entry = {**_copy(cached, one.sha256, aside=aside, folder=folder, name=one.file), "url": one.url}
        (evidence if is_evidence else files).append(entry)
        if item.is_archive and not is_evidence:
            evidence += _take_evidence(cached, item, patterns, aside=aside)
    return files, evidence


def _take_evidence(archive: Path, item: SourceConfig, patterns: list[str], *, aside: Path) -> list[Entry]:
    """Read an archive once, to see that it is sound and has what the recipe names, and copy its evidence."""
    return [
        _write(content, aside=aside, folder=f"evidence/{item.name}", name=name)
        for name, content in read_members(archive, [*item.read.members, *patterns])
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    ]


def _note_etag(aside: Path, url: str, etag: str) -> None:
    """Note the ETag that a file came with: a witness of the server's state, which no result may depend on."""
    path = aside / WITNESS / "etags.json"
    path.parent.mkdir(exist_ok=True)
    noted = json.loads(path.read_bytes()) if path.exists() else {}
    path.write_bytes(canonical_json({**noted, url: etag}))


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
