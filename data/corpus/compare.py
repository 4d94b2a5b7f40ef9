"""Holds the artifacts of a rebuilt corpus against a manifest, part by part, and says where a part differs first."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.artifact import open_artifact
from core.hashing import canonical_json, hash_file
from data.corpus.manifest import describe_documents, sidecars_of
from data.corpus.roots import files_root, shards_root, sources_root
from data.loader import read_record
from data.sources.fetch import INDEX
from data.tokenizer import MODEL

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A part's root here and in the manifest, and where it differs first, if it does."""

    part: str
    found: str
    wanted: str
    where: str = ""

    def __str__(self) -> str:
        if self.found == self.wanted:
            return f"same      {self.part} {self.found}"
        return f"DIFFERENT {self.part} {self.found}, the manifest says {self.wanted}{self.where and f': {self.where}'}"


def compare(stage: str, folder: Path, manifest: Record) -> Iterator[Difference]:
    """The parts that a stage's artifact holds; a stage without one gives none."""
    roots = manifest["roots"]
    match stage:
        case "fetch":
            records = json.loads((folder / INDEX).read_bytes())
            found = sources_root(records)
            yield Difference(part="sources", found=found, wanted=roots["sources"], where=_sources(records, manifest))
        case "clean":
            files = describe_documents(open_artifact(folder))["files"]
            where = _first(files, manifest["documents"]["files"], name="path", counts=("documents", "bytes"))
            yield Difference(part="documents", found=files_root(files), wanted=roots["documents"], where=where)
        case "tokenizer":
            yield Difference(part="tokenizer", found=hash_file(folder / MODEL), wanted=roots["tokenizer"])
        case "pack":
            record, data_root = read_record(folder)
            sidecars = [sidecar for source in record["sources"] for sidecar in source["shards"]]
            where = _first(sidecars, sidecars_of(manifest), name="name", counts=("documents", "tokens"))
            yield Difference(part="shards", found=shards_root(sidecars), wanted=roots["shards"], where=where)
            yield Difference(part="order", found=data_root, wanted=roots["order"])


def _sources(records: Sequence[Record], manifest: Record) -> str:
    files, wanted = (
        [{**entry, "name": f"{source['name']}: {entry['name']}"} for source in some for entry in _entries(source)]
        for some in (records, manifest["sources"])
    )
    return _first(files, wanted, name="name", counts=("bytes",))


def _entries(source: Record) -> list[Record]:
    return [
        {name: entry[name] for name in ("name", "bytes", "sha256")}
        for part in ("files", "evidence")
        for entry in source[part]
    ]


def _first(found: Sequence[Record], wanted: Sequence[Record], *, name: str, counts: Sequence[str]) -> str:
    """The first entry by name that only one side has or that differs, with its counts on both sides."""
    here, there = ({entry[name]: entry for entry in entries} for entries in (found, wanted))
    for key in sorted(here.keys() | there.keys()):
        if key not in there or key not in here:
            return f"{key} is only {'here' if key in here else 'in the manifest'}"
        if canonical_json(here[key]) != canonical_json(there[key]):
            mine, theirs = (", ".join(f"{one[key][of]} {of}" for of in counts) for one in (here, there))
            return f"first {key}, {mine} here, {theirs} in the manifest"
    return ""
