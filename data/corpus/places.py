"""Where the parts of a corpus lie: in a run's folder, in a bundle, or in a folder with a manifest and shards.

a run's folder   the artifacts that the manifest names, whatever was made there since
a bundle         its folder `data/`, with the tokenizer beside it; the bundle's own folder will do
another folder   manifest.json, and order.json with the shards beside it or in `pack/`
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.artifact import KEY_DIGITS, Artifact, current
from core.errors import DataError
from data.corpus.manifest import MANIFEST, read_manifest
from data.loader import RECORD
from data.tokenizer import MODEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A corpus as its checks find it; a part that is not there is None.

    about      the folder of manifest.json and what was made with it
    pack       order.json, shards
    fetched    sources.json and evidence/
    cleaned    report.json, heldout/ and perhaps train/
    """

    manifest: Mapping[str, Any]
    about: Path
    pack: Path | None
    tokenizer: Path | None
    fetched: Path | None
    cleaned: Path | None


def find_corpus(folder: Path) -> Corpus:
    """The parts of the corpus in a folder. Raises DataError if there is no manifest."""
    for place in (folder, folder / "data"):
        if (place / MANIFEST).is_file():
            return _in_run(place) if is_pointer(place / MANIFEST) else _in_folder(place)
    raise DataError(f"no {MANIFEST} in {folder}; give a run's folder, a bundle, or a folder with a manifest and shards")


def is_pointer(path: Path) -> bool:
    """Whether it is what a run leaves of the stage's name, which says where its artifact is."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and value.keys() == {"folder", "digest"}


def _in_run(runs: Path) -> Corpus:
    artifact: Artifact = current(runs, "manifest")
    manifest = read_manifest(artifact.folder / MANIFEST)
    keys = {stage["stage"]: stage["key"] for stage in manifest["stages"]}

    def made(stage: str) -> Path | None:
        place = runs / f"{stage}-{keys[stage][:KEY_DIGITS]}"
        return place if place.is_dir() else None

    tokenizer = made("tokenizer")
    return Corpus(
        manifest=manifest,
        about=artifact.folder,
        pack=made("pack"),
        tokenizer=tokenizer / MODEL if tokenizer else None,
        fetched=made("fetch"),
        cleaned=made("clean"),
    )


def _in_folder(folder: Path) -> Corpus:
    pack = next((place for place in (folder, folder / "pack") if (place / RECORD).is_file()), None)
    tokenizers = (folder / MODEL, folder / "tokenizer" / MODEL, folder.parent / "tokenizer" / MODEL)
    return Corpus(
        manifest=read_manifest(folder / MANIFEST),
        about=folder,
        pack=pack,
        tokenizer=next((path for path in tokenizers if path.is_file()), None),
        fetched=folder if (folder / "evidence").is_dir() else None,
        cleaned=folder if (folder / "heldout").is_dir() else None,
    )
