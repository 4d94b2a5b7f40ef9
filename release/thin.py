"""Thin bundles: the whole manifest, and so the same root, but big parts by digest only. Verbs `thin` and `fill`.

usage: python -m release thin BUNDLE OUT [--mirror ADDRESS]...    python -m release fill THIN OUT [--mirror SOURCE]...

`thin.json` lists what is absent with size and SHA-256, as the manifest does, and where it may be had. It lies outside
the root: mirrors come and go, and a thin bundle is the same release as the full one. Only shards, checkpoints and
weights may be absent; whatever else is missing is damage. `fill` fetches them, believes no byte of it before it is
hashed, and gives the full bundle byte for byte.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.arguments import Parser
from core.errors import ConfigError, DataError
from core.hashing import canonical_json
from release.contents import Bundle, open_bundle
from release.manifest import (
    MIRRORS,
    THIN,
    THIN_FORMAT,
    first_flaw,
    is_big,
    manifest_root,
    read_absent,
    read_manifest,
)
from release.publish.fetch import addresses_of, fetch
from release.publish.place import open_source

# What of the big parts a check reads; one that is not named reads none. Those that a new check needs are to be added.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "report": ("weights/", "checkpoints/", "data/pack/"),
    "alive": ("weights/",),
    "forward": ("weights/",),
    "scores": ("weights/",),
    "losses": ("data/pack/", "checkpoints/", "parents/start/", "parents/weights/"),
    "data": ("data/pack/",),
    "corpus": ("data/pack/",),
    "checkpoints": ("checkpoints/",),
    "weights": ("weights/", "checkpoints/", "parents/weights/"),
    "derived": ("checkpoints/", "parents/weights/"),
    "lineage": ("parents/start/", "parents/weights/"),
    "audit": ("data/pack/", "checkpoints/", "parents/start/", "parents/weights/"),
}
READS_NONE = ("integrity", "signature", "form", "code", "chain", "ledger", "rates", "witness")
EVERYTHING = ("",)


def thin_main(arguments: list[str]) -> None:
    """Run verb thin: write the folder, the root, and what is absent."""
    parser = Parser("python -m release thin BUNDLE OUT [--mirror ADDRESS]...")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mirror", action="append", default=[])
    given = parser.parse_args(arguments)
    record = make_thin(open_bundle(given.bundle).folder, given.out, mirrors=given.mirror)
    size = sum(row["bytes"] for row in record["absent"])
    sys.stdout.write(f"{given.out}\nroot {record['root']}\nby reference: {len(record['absent'])} files, {size} bytes\n")


def fill_main(arguments: list[str]) -> None:
    """Run verb fill: write the full bundle's folder and its root."""
    parser = Parser("python -m release fill THIN OUT [--mirror SOURCE]...")
    parser.add_argument("thin", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mirror", action="append", default=[])
    given = parser.parse_args(arguments)
    root = fill(open_bundle(given.thin), given.out, mirrors=given.mirror)
    sys.stdout.write(f"{given.out}\nroot {root}\n")


def make_thin(folder: Path, out: Path, *, mirrors: Sequence[str] = ()) -> dict[str, Any]:
    """Write a bundle without its big parts; returns what thin.json says.

    The same bundle and mirrors give the same bytes. Raises ConfigError if `out` is there, DataError if the bundle is
    not whole.
    """
    if out.exists():
        raise ConfigError(f"{out} is there and is not written over; name a folder that is not")
    flaw = first_flaw(folder)
    if flaw:
        raise DataError(f"{folder}: {flaw}; only whole bundles are made thin")
    link = next((path for path in folder.rglob("*") if path.is_symlink()), None)
    if link:
        raise DataError(f"{link} is a link, which a bundle never holds; remove it")
    for address in mirrors:
        open_source(address)
    aside = out.absolute().with_name(f".{out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not is_big(name) and name != THIN:
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, aside / name)
    absent = [entry for entry in read_manifest(folder) if is_big(entry.path)]
    record = {
        "format": THIN_FORMAT,
        "root": manifest_root(folder),
        "absent": [{"path": entry.path, "bytes": entry.bytes, "sha256": entry.sha256} for entry in absent],
        "mirrors": list(mirrors),
    }
    (aside / THIN).write_bytes(canonical_json(record) + b"\n")
    aside.rename(out)
    return record


def fill(bundle: Bundle, out: Path, *, mirrors: Sequence[str] = ()) -> str:
    """Write the full bundle, with what is absent from the first mirror that has it; returns its root.

    Without `mirrors`, those of thin.json. Raises ConfigError if there are none, DataError naming the first file that no
    mirror has as it has to be.
    """
    told = list(mirrors) or _told(bundle.folder)
    if bundle.absent and not told:
        raise ConfigError(f"{bundle.folder} names no mirror for what it holds by reference; give --mirror")
    served = [address for source in told for address in addresses_of(source)]
    sources = [open_source(str(bundle.folder)), *map(open_source, served)]
    root = fetch(sources, out, root=bundle.root)
    if not (bundle.folder / MIRRORS).is_file():
        # Where it was fetched from is no part of the bundle that was made thin.
        (out / MIRRORS).unlink(missing_ok=True)
    return root


def missing_for(bundle: Bundle, check: str) -> str:
    """What a check reads and is here by reference only, in one phrase; an empty string if it reads none of it."""
    if not bundle.absent or check in READS_NONE:
        return ""
    below = NEEDS.get(check, EVERYTHING)
    lacking = [entry for entry in bundle.absent.values() if entry.path.startswith(below)]
    return say_absent(lacking) if lacking else ""


def say_absent(entries: Iterable[Any]) -> str:
    """How much is by reference, and how to look at it."""
    listed = list(entries)
    return (
        f"{len(listed)} files, {sum(entry.bytes for entry in listed)} bytes, are by reference, the first "
        f"{listed[0].path}; --mirror SOURCE fetches them"
    )


def _told(folder: Path) -> list[str]:
    if not (folder / THIN).is_file():
        return []
    read_absent(folder)
    return [str(address) for address in json.loads((folder / THIN).read_bytes())["mirrors"]]
