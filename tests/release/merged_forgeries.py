"""Forgeries of a model that was merged and then quantized, with every digest, root, record and report made to fit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from core.hashing import canonical_json, hash_file, hash_value
from release.contents import open_bundle
from release.layout import place
from release.openness.render import render, scripts
from tests.release.forgeries import Forgery, nudge
from tests.release.forgery import edit_json, flip_bit, reseal

STAGES = ("merge", "quantize", "evaluate", "export", "bundle")


def forging(do: Callable[[Path], object]) -> Callable[[Path], object]:
    """A forgery after which everything fits."""

    def forge(folder: Path) -> None:
        do(folder)
        refit(folder)

    return forge


def refit(folder: Path) -> None:
    """Make every record list the files as they are now and name its inputs by their digests, and the report fit."""
    digests: dict[str, str] = {}
    for stage in open_bundle(folder).stages:
        path = folder / f"artifacts/{stage}.json"
        record = json.loads(path.read_bytes())
        for entry in record["files"]:
            file = folder / place(stage, entry["path"])
            if file.is_file():
                entry |= {"sha256": hash_file(file), "bytes": file.stat().st_size}
        record["inputs"] = {name: digests[name] for name in record["inputs"]}
        record["key"] = hash_value({field: record[field] for field in ("stage", "code", "config", "inputs")})
        path.write_bytes(canonical_json(record))
        digests[stage] = hash_file(path)
    edit_json(folder / "bundle.json", artifacts=digests)
    for name, content in {**render(open_bundle(folder)), **scripts(open_bundle(folder))}.items():
        (folder / name).write_bytes(content)
    reseal(folder)


def edit_merge(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change section `merge` in the recipe and in the artifact's record."""
    record = json.loads((folder / "artifacts/merge.json").read_bytes())
    recipe = yaml.safe_load((folder / "config/recipe.yaml").read_bytes())
    change(record["config"])
    change(recipe["merge"])
    (folder / "artifacts/merge.json").write_bytes(canonical_json(record))
    (folder / "config/recipe.yaml").write_text(
        yaml.safe_dump(recipe, sort_keys=True, allow_unicode=True, width=120, default_flow_style=False)
    )


def other_ratio(folder: Path) -> None:
    """Say that the models were merged at another place between them."""
    edit_merge(folder, lambda section: section.update(position=0.5))


def swapped_parents(folder: Path) -> None:
    """Say that the first model was the second, in recipe, record and lineage."""
    edit_merge(folder, lambda section: section["models"].reverse())
    record = json.loads((folder / "logs/merge.json").read_bytes())
    edit_json(folder / "logs/merge.json", models=record["models"][::-1])
    lineage = json.loads((folder / "lineage.json").read_bytes())
    edit_json(folder / "lineage.json", merged=lineage["merged"][::-1])


def other_parent(folder: Path) -> None:
    """Move a weight of a parent's by 1e-7."""
    nudge(sorted((folder / "parents/weights").iterdir())[0] / "model.safetensors")


def other_method(folder: Path) -> None:
    """Call the merge a linear one in its record."""
    edit_json(folder / "logs/merge.json", method="linear")


def quantized_of_another(folder: Path) -> None:
    """Say that one of the parents was quantized, not what was merged."""
    taken = json.loads((folder / "logs/merge.json").read_bytes())["models"][1]["weights_sha256"]
    edit_json(folder / "logs/quantize.json", taken_sha256=taken)


def other_small_file(folder: Path) -> None:
    """Flip a bit of the quantized file and let its record name the new hash."""
    small = folder / "weights/quantized.safetensors"
    flip_bit(small, at=-1)
    edit_json(folder / "logs/quantize.json", quantized_sha256=hash_file(small))


def smaller_errors(folder: Path) -> None:
    """Make the errors of the rounding smaller than they were."""
    errors = json.loads((folder / "logs/quantize.json").read_bytes())["errors"]
    smaller = {name: {kind: value / 2 for kind, value in one.items()} for name, one in errors.items()}
    edit_json(folder / "logs/quantize.json", errors=smaller)


def published_moved(folder: Path) -> None:
    """Move a published weight by 1e-7."""
    nudge(folder / "weights/final/model.safetensors")


def relabelled(folder: Path) -> None:
    """Call the model a pretrained one."""
    edit_json(folder / "lineage.json", kinds=["pretrain"])


def free_parent(folder: Path) -> None:
    """State a parent's weights under a licence that asks for nothing."""
    lineage = json.loads((folder / "lineage.json").read_bytes())
    edit_json(folder / "lineage.json", merged=[{**one, "license": "CC0-1.0"} for one in lineage["merged"]])


MERGED = [
    Forgery(name, forging(do), caught)
    for name, do, caught in (
        ("a merge of another ratio than it says", other_ratio, "derived"),
        ("the models of a merge swapped", swapped_parents, "derived"),
        ("a weight of a merged parent moved by 1e-7", other_parent, "derived"),
        ("the method of a merge relabelled", other_method, "derived"),
        ("quantized weights of another model", quantized_of_another, "derived"),
        ("a bit in the quantized file", other_small_file, "derived"),
        ("smaller errors of the rounding", smaller_errors, "derived"),
        ("a published weight of a quantized model moved by 1e-7", published_moved, "weights"),
        ("a merged and quantized model called a pretrained one", relabelled, "lineage"),
        ("a merged parent's licence dropped", free_parent, "lineage form"),
    )
]
# Tried in every run of the tests; the others are slow.
QUICK = ("a merge of another ratio than it says", "a merged and quantized model called a pretrained one")
