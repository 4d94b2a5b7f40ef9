"""The recipe that makes a corpus again, from its manifest: what decides the result is there, and places are new."""

import copy
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.hashing import sha256_hex
from data.corpus.localfiles import Library

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Redone:
    """A recipe, and what it needs of local files that are not there: why, by source or by what else it is."""

    recipe: Record
    missing: dict[str, str]


def redone_recipe(manifest: Mapping[str, Any], *, out: Path, library: Library) -> Redone:
    """The recipe of a rebuild in folder `out`; local files are linked or copied there under the names they had."""
    sections = copy.deepcopy(dict(manifest["recipe"]["sections"]))
    missing: dict[str, str] = {}
    sections["sources"]["cache"] = str(out / "cache")
    for source, item in zip(manifest["sources"], sections["sources"]["items"], strict=True):
        if "pattern" in source:
            folder = out / "files" / source["name"]
            absent = list(_lay_out(source, folder, library))
            item["path"] = str(folder / source["pattern"])
            if absent:
                missing[source["name"]] = f"no file below --files is {', '.join(absent)}"
    for what, holder, key, sha256 in pinned_files(sections):
        path = library.find(sha256)
        if path is None:
            missing[what] = f"no file below --files has SHA-256 {sha256}"
        else:
            holder[key] = str(path)
    if manifest["tombstones"]["list"]:
        listed = out / "taken_down.jsonl"
        listed.write_bytes(manifest["tombstones"]["list"].encode())
        assert sha256_hex(listed.read_bytes()) == sections["clean"]["taken_down"]["sha256"], "another list"
        sections["clean"]["taken_down"]["path"] = str(listed)
    return Redone({"run": {"name": manifest["name"], "out": str(out)}, "data": {}, **sections}, missing)


def pinned_files(sections: Mapping[str, Any]) -> Iterator[tuple[str, Record, str, str]]:
    """Files beside the sources that a recipe names by SHA-256: what it is, where its path goes, and the hash."""
    for one in sections["clean"].get("decontamination", {}).get("benchmarks", []):
        yield f"evaluation set {one['name']}", one, "path", one["sha256"]
    if sha256 := sections["tokenizer"].get("sha256"):
        yield "the tokenizer that was taken over", sections["tokenizer"], "model", sha256
    if sha256 := sections["pack"].get("base", {}).get("sha256"):
        yield "the order.json of the parent, beside its shards", sections["pack"]["base"], "order", sha256


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> Path:
    """Write a recipe so that every value is read back as it is, and return the path."""
    path.write_text(yaml.safe_dump(_escaped(dict(recipe)), allow_unicode=True), encoding="utf-8")
    return path


def _lay_out(source: Mapping[str, Any], folder: Path, library: Library) -> Iterator[str]:
    """Bring a source's files and evidence under their names into a folder of their own; yields what is not there."""
    shutil.rmtree(folder, ignore_errors=True)
    for entry in (*source["files"], *source["evidence"]):
        found, target = library.find(entry["sha256"]), folder / entry["name"]
        if found is None:
            yield f"{entry['name']} (SHA-256 {entry['sha256']})"
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(found)


def _escaped(value: Any) -> Any:
    """A value in which nothing looks like an interpolation."""
    if isinstance(value, str):
        return value.replace("${", "\\${")
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value
