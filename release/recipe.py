"""The recipe as a bundle states it: every group filled in, and nothing of this machine or placement in it.

What is placement only a stage knows. It says so by leaving it out of the identity configuration in its artifact; so
the bundle's recipe is what the run's recipe and the stages' identities have in common.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

# Sections of the recipe: the stage whose identity configuration covers each.
SECTION_STAGE = {"sources": "fetch", "data": "clean", "clean": "clean", "tokenizer": "tokenizer", "pack": "pack"}
SECTION_STAGE |= {"merge": "merge", "quantize": "quantize", "evaluate": "evaluate", "export": "export"}
TRAIN_SECTIONS = ("model", "profile", "train")

# Where a reproduction looks for sources that are files: below this folder, one folder a source.
FILES = "files"
# Kinds of sources that are files on disk.
LOCAL = ("files", "warc")


def neutral_recipe(
    resolved: Mapping[str, Any],
    *,
    name: str,
    configs: Mapping[str, Mapping[str, Any]],
    trained: Mapping[str, Mapping[str, Any]],
    release: Mapping[str, Any],
) -> dict[str, Any]:
    """The bundle's recipe from the resolved one.

    `configs` are the artifacts' identity configurations by stage, `trained` those of the sections in TRAIN_SECTIONS
    that the run has, `release` that of section release.
    """
    identities = {section: configs[stage] for section, stage in SECTION_STAGE.items() if stage in configs}
    identities |= dict(trained)
    identities["release"] = release
    recipe = {
        section: _common(resolved.get(section) or {}, identity.get(section) or identity)
        for section, identity in identities.items()
    }
    for given, item in zip(resolved["sources"]["items"], recipe["sources"]["items"], strict=True):
        if item["kind"] in LOCAL:
            item["path"] = f"{FILES}/{item['name']}/{_pattern(str(given['path']))}"
    return {"run": {"name": name}, **recipe, "launch": {}}


def file_sources(recipe: Mapping[str, Any]) -> dict[int, Path]:
    """Paths of the sources that are files, as the bundle's recipe states them, by index in sources.items."""
    items = recipe["sources"]["items"]
    return {index: Path(item["path"]) for index, item in enumerate(items) if item["kind"] in LOCAL}


def to_yaml(value: Any) -> bytes:
    """YAML in the one form that a bundle holds."""
    text: str = yaml.safe_dump(value, sort_keys=True, allow_unicode=True, default_flow_style=False, width=120)
    return text.encode()


def _common(given: Any, identity: Any) -> Any:
    """What of a given value is identity too, with the identity's values."""
    if isinstance(given, dict) and isinstance(identity, dict):
        return {str(name): _common(given[name], identity[str(name)]) for name in given if str(name) in identity}
    if isinstance(given, list) and isinstance(identity, list):
        return [_common(one, other) for one, other in zip(given, identity, strict=True)]
    return identity


def _pattern(path: str) -> str:
    """The part of a path or glob that names files: from the first wildcard on, else the last part."""
    parts = Path(path).parts
    wild = next((index for index, part in enumerate(parts) if set(part) & set("*?[")), len(parts) - 1)
    return Path(*parts[wild:]).as_posix()
