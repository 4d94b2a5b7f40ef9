"""Where the text of a corpus comes from, as its manifest says it: exact, and without the name of a host.

A locator is a package URL (purl) where its kind has one, and else the content's hash. The addresses of files of the
web are in the manifest's recipe, which could not be redone without them.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from data.sources.config import SourceConfig
from data.sources.fetch import INDEX

Record = dict[str, Any]
WILD = re.compile(r"[*?\[]")


def patterns(items: Iterable[SourceConfig]) -> dict[str, str]:
    """For every source that is local files: which files of its folder it reads, by its path's part from the first
    wildcard on, or else its last part."""
    found = {}
    for item in items:
        if item.path != Path():
            parts = item.path.parts
            wild = next((at for at, part in enumerate(parts) if WILD.search(part)), len(parts) - 1)
            found[item.name] = Path(*parts[wild:]).as_posix()
    return found


def describe_sources(fetched: Path, local: Mapping[str, str]) -> list[Record]:
    """The sources of a fetch artifact, in the recipe's order; `local` are the patterns of those that are files."""
    return [
        {
            **{name: value for name, value in record.items() if name not in ("read", "files")},
            "locator": locator(record),
            "files": [_file(entry) for entry in record["files"]],
            **({"pattern": local[record["name"]]} if record["name"] in local else {}),
        }
        for record in json.loads((fetched / INDEX).read_bytes())
    ]


def locator(record: Mapping[str, Any]) -> str:
    """What names a source's content exactly, wherever it is kept."""
    package, version = record["package"], quote(record["version"], safe="")
    match record["kind"]:
        case "pypi":
            return f"pkg:pypi/{package.lower()}@{version}?file_name={quote(record['file'], safe='')}"
        case "debian":
            name, _, architecture = package.partition(":")
            return f"pkg:deb/debian/{name}@{version}" + (f"?arch={architecture}" if architecture else "")
        case "huggingface":
            return f"pkg:huggingface/{package}@{version}"
        case _:
            return f"sha256:{record['sha256']}"


def _file(entry: Mapping[str, Any]) -> Record:
    """A file by name, size and hash; of an address only the path."""
    plain = {name: entry[name] for name in ("name", "bytes", "sha256")}
    return {**plain, **({"address_path": urlsplit(entry["url"]).path} if "url" in entry else {})}
