"""Verb fetch: brings every source to this machine, checked, with its licence and the evidence for it.

Reads section `sources`. Writes `archives/<source>/<file>`, `evidence/<source>/<file>` and `sources.json`, which says
of each source where it is from, what it hashes to, under which licence it stands, and how to read it.

Each kind of source has a module here (data/sources/config.py lists them). Downloads are kept in a cache, named by their
SHA-256 and checked on every use.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.artifact import Facts, build, plan
from core.cli import recipe_and_overrides
from core.config import RunConfig, identity, load
from core.errors import ConfigError, DataError, RetryError
from core.hashing import canonical_json, hash_value
from data.chat import Form
from data.reading.compression import bare_name
from data.reading.extract import Format, OnError, ReadConfig, Split
from data.reading.html import EXTRACTOR
from data.reading.warc import count_records
from data.sources.config import SourceConfig, SourcesConfig, is_archive
from data.sources.kind import Entry, Taken
from data.sources.shelf import Shelf

STAGE = "fetch"
INDEX = "sources.json"
WARC = ".warc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A fetched source as its readers need it: its name, its files, and how to read them."""

    name: str
    is_archive: bool
    read: ReadConfig
    files: list[tuple[str, Path]]


def main(arguments: list[str]) -> None:
    """Run the verb: make or find the fetch artifact and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data fetch")
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "sources", SourcesConfig, overrides)
    contents = {item.name: find_contents(item) for item in config.items}
    # What extracts pages decides the text that the next stage reads, so a new version must remake both.
    facts = {**identity(config), "contents": contents, "extractor": EXTRACTOR}
    wanted = plan(STAGE, folder="data", out=run.out_folder, config=facts, inputs={})
    artifact = build(wanted, partial(write, config=config, contents=contents))
    sys.stdout.write(f"{artifact.folder}\n")


def open_sources(folder: Path) -> list[Source]:
    """The sources of a fetch artifact, in the recipe's order."""
    return [
        Source(
            name=record["name"],
            is_archive=is_archive(record),
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
        "form": Form(record.get("form", Form.TEXT.value)),
    }
    return ReadConfig(**{**record, **choices})


@contextmanager
def naming(item: SourceConfig) -> Iterator[None]:
    """Say of an error which source it is about."""
    try:
        yield
    except (ConfigError, DataError, RetryError) as error:
        raise type(error)(f"source {item.name}: {error}") from error


def find_contents(item: SourceConfig) -> Facts:
    """What of a source is on this machine and decides the artifact. Raises DataError if it is not there."""
    with naming(item):
        return item.how.contents(item)


def write(aside: Path, *, config: SourcesConfig, contents: Mapping[str, Facts]) -> Facts:
    """Fill the artifact's folder and return its facts."""
    shelf = Shelf(config, aside)
    records = []
    counts: dict[str, dict[str, int]] = {}
    for item in config.items:
        with naming(item):
            taken = item.how.take(item, shelf, contents=contents[item.name])
            record = _record(item, taken)
            if found := _count_records(item, taken.files, aside=aside):
                counts[item.name] = record["records"] = found
        records.append(record)
    (aside / INDEX).write_bytes(canonical_json(records))
    pinned = {(record["sha256"], record["bytes"]) for record in records}
    size_mb = sum(size for _, size in pinned) / 1e6
    return {
        "came_in": f"{len(records)} sources by exact hash",
        "went_out": f"{len(pinned)} files or sets of files, {size_mb:.1f} MB, with licences and their evidence",
        **({"records": counts} if counts else {}),
    }


def _count_records(item: SourceConfig, files: list[Entry], *, aside: Path) -> dict[str, int]:
    """Read every WARC of a source to its end, so that a damaged one stops here, and count its records by outcome."""
    total: Counter[str] = Counter()
    for entry in [] if item.is_archive else files:
        is_named_so = item.read.format is Format.AUTO and bare_name(entry["name"]).endswith(WARC)
        if item.read.format is Format.WARC or is_named_so:
            with (aside / entry["path"]).open("rb") as stream:
                total += count_records(stream, name=entry["name"])
    return dict(sorted(total.items()))


def _record(item: SourceConfig, taken: Taken) -> Entry:
    files = taken.files
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
        "evidence": taken.evidence,
        "files": files,
        "read": identity(item.read),
    }
