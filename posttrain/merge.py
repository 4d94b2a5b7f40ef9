"""Stage merge: the weights of several models of one shape and tokenizer as one model.

Reads the tokenizer's artifact, the training's if the recipe trains, and the files of other models. Writes
final/model.safetensors with its manifest, config.json (the model's shape, the profile) and merge.json, which names by
hash what was merged. The method is in arithmetic.py; one tensor of each model is in memory at a time.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.artifact import Artifact, Facts, build, current, plan
from core.cli import recipe_and_overrides
from core.config import RunConfig, identity, load
from core.errors import ConfigError
from core.hashing import canonical_json, hash_file
from core.profile import ProfileConfig, fingerprint
from core.progress import Progress
from core.stages import inputs_of
from model.config import ModelConfig
from posttrain.arithmetic import merge_tensors
from posttrain.config import MergeConfig, SourceConfig
from posttrain.found import check_parent, check_tokenizer, find_weights, own_weights
from posttrain.shapes import shapes_of
from posttrain.tensors import FINAL, MODEL, Floats, open_weights, write_manifest, write_weights

STAGE, FORMAT = "merge", "wholegrain-merge-1"


def main(arguments: list[str]) -> None:
    """Verb `merge`: make the artifact of stage merge and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m posttrain merge")
    run = load(recipe, "run", RunConfig, overrides)
    model = load(recipe, "model", ModelConfig, overrides)
    profile = load(recipe, "profile", ProfileConfig, overrides)
    config = load(recipe, "merge", MergeConfig, overrides)
    inputs = {stage: current(run.inputs_folder, stage) for stage in inputs_of(STAGE, recipe, overrides)}
    made_of = {"model": identity(model), "profile": fingerprint(profile)}
    wanted = plan(STAGE, folder="posttrain", out=run.out_folder, config={**identity(config), **made_of}, inputs=inputs)
    artifact = build(wanted, lambda aside: write_merged(aside, inputs, config=config, model=model, made_of=made_of))
    sys.stdout.write(f"{artifact.folder}\n")


def write_merged(
    aside: Path, inputs: Mapping[str, Artifact], *, config: MergeConfig, model: ModelConfig, made_of: Facts
) -> Facts:
    """Write the artifact's files and return its facts."""
    files = [_file_of(source, inputs, model=model) for source in config.sources]
    hashes = [hash_file(path) for path in files]
    digest = merge_files(aside / FINAL, files, config=config, model=model)
    (aside / "config.json").write_bytes(canonical_json(made_of))
    (aside / "merge.json").write_bytes(canonical_json(record_of(config, hashes, digest)))
    return {
        "came_in": f"{len(files)} models of {model.parameter_count:,} weights",
        "went_out": f"merged by {config.method.value}, weights {digest[:12]}",
        "final": FINAL,
        "weights_sha256": digest,
        "steps": _trained(inputs)["steps"],
        "trajectory_head": _trained(inputs)["trajectory_head"],
    }


def record_of(config: MergeConfig, hashes: Sequence[str], digest: str) -> dict[str, Any]:
    """merge.json: what was merged how, by SHA-256, and what came out."""
    taken = [
        {"weights_sha256": sha256, "step": source.step, "weight": source.weight, "is_base": source in config.base}
        for source, sha256 in zip(config.sources, hashes, strict=True)
    ]
    return {"format": FORMAT, "method": config.method.value, "models": taken, "weights_sha256": digest}


def merge_files(folder: Path, files: Sequence[Path], *, config: MergeConfig, model: ModelConfig) -> str:
    """Merge files of weights, in the order of `config.sources`, into `folder`; returns the SHA-256 of the weights."""
    shapes = shapes_of(model)
    opened = [open_weights(path, shapes, is_head_scaled=bool(model.base_dim)) for path in files]
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress("merge", total=len(shapes), unit="tensors")

    def make(name: str) -> Floats:
        progress.advance()
        return merge_tensors([weights.read(name) for weights in opened], config)

    write_weights(folder / MODEL, shapes, make)
    return write_manifest(folder)


def _file_of(source: SourceConfig, inputs: Mapping[str, Artifact], *, model: ModelConfig) -> Path:
    """The file of one model, held against its name, this recipe's model and this run's tokenizer."""
    if source.step:
        if "train" not in inputs:
            raise ConfigError(
                f"merge names {source.name}, and the recipe trains nothing; give weights_sha256 and folder"
            )
        return own_weights(inputs["train"].folder, source.step)
    path = find_weights(source.folder, source.weights_sha256)
    check_parent(path, source.folder, model)
    check_tokenizer(path, source.folder, inputs["tokenizer"].folder)
    return path


def _trained(inputs: Mapping[str, Artifact]) -> dict[str, Any]:
    facts = inputs["train"].facts if "train" in inputs else {"steps": 0, "trajectory_head": ""}
    return {name: facts[name] for name in ("steps", "trajectory_head")}
