"""Stage quantize: the weights of the model before it, rounded to a few bits.

Reads the last weights that were made, the held-out documents and the tokenizer. Writes

    quantized.safetensors    integers and scales (rounding.py), the small file
    final/model.safetensors  the fp32 value that each stands for, which every runtime loads; scored and exported is this
    quantize.json            what was rounded how, with each tensor's largest and mean error
    losses.json              the loss on held-out text before and after, under the run's numerics profile
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.artifact import Artifact, Facts, build, current, plan
from core.cli import recipe_and_overrides
from core.config import RunConfig, identity, load
from core.hashing import canonical_json, hash_file
from core.profile import ProfileConfig, apply, fingerprint
from core.progress import Progress
from core.stages import inputs_of, weights_stage
from model.config import ModelConfig
from posttrain.config import QuantizeConfig
from posttrain.rounding import Rounded, is_rounded, round_tensor, write_rounded
from posttrain.tensors import FINAL, MODEL, Floats, open_weights, write_manifest, write_weights

STAGE, FORMAT = "quantize", "wholegrain-quantize-1"
SMALL = "quantized.safetensors"


def main(arguments: list[str]) -> None:
    """Verb `quantize`: make the artifact of stage quantize and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m posttrain quantize")
    run = load(recipe, "run", RunConfig, overrides)
    model = load(recipe, "model", ModelConfig, overrides)
    profile = load(recipe, "profile", ProfileConfig, overrides)
    config = load(recipe, "quantize", QuantizeConfig, overrides)
    inputs = {stage: current(run.inputs_folder, stage) for stage in inputs_of(STAGE, recipe, overrides)}
    made_of = {"model": identity(model), "profile": fingerprint(profile)}
    wanted = plan(STAGE, folder="posttrain", out=run.out_folder, config={**identity(config), **made_of}, inputs=inputs)

    def write(aside: Path) -> Facts:
        return write_quantized(aside, inputs, config=config, model=model, profile=profile, made_of=made_of)

    sys.stdout.write(f"{build(wanted, write).folder}\n")


def write_quantized(
    aside: Path,
    inputs: Mapping[str, Artifact],
    *,
    config: QuantizeConfig,
    model: ModelConfig,
    profile: ProfileConfig,
    made_of: Facts,
) -> Facts:
    """Write the artifact's files and return its facts."""
    apply(profile)
    from posttrain.losses import heldout_loss

    maker = inputs[weights_stage(inputs)]
    before = maker.folder / str(maker.facts["final"]) / MODEL
    record = quantize_file(aside, before, config=config, model=model)
    (aside / "config.json").write_bytes(canonical_json(made_of))
    (aside / "quantize.json").write_bytes(canonical_json(record))
    where = {"clean": inputs["clean"].folder, "tokenizer": inputs["tokenizer"].folder}
    losses = {
        name: heldout_loss(path, where, config=config, model=model, profile=profile)
        for name, path in {"before": before, "after": aside / FINAL / MODEL}.items()
    }
    (aside / "losses.json").write_bytes(canonical_json({name: loss.hex() for name, loss in losses.items()}))
    small, whole = (path.stat().st_size / 1e6 for path in (aside / SMALL, before))
    return {
        "came_in": f"{model.parameter_count:,} weights, {whole:.1f} MB",
        "went_out": f"{config.bits} bits a weight, {small:.1f} MB; held-out loss {losses['before']:.3f} to "
        f"{losses['after']:.3f}",
        "final": FINAL,
        "weights_sha256": record["weights_sha256"],
        "steps": maker.facts["steps"],
        "trajectory_head": maker.facts["trajectory_head"],
    }


def quantize_file(folder: Path, before: Path, *, config: QuantizeConfig, model: ModelConfig) -> dict[str, Any]:
    """Write both files of weights below `folder`; returns quantize.json."""
    from posttrain.shapes import shapes_of  # it loads torch, which has to come behind the profile

    shapes = shapes_of(model)
    weights = open_weights(before, shapes)
    progress = Progress("quantize", total=len(shapes), unit="tensors")
    errors: dict[str, dict[str, float]] = {}

    def rounded() -> Iterator[tuple[str, Floats | Rounded]]:
        for name in sorted(shapes):
            tensor = weights.read(name)
            yield name, round_tensor(name, tensor, config) if is_rounded(name, shapes[name], config) else tensor

    def make(name: str) -> Floats:
        progress.advance()
        tensor = weights.read(name)
        if not is_rounded(name, shapes[name], config):
            return tensor
        one = round_tensor(name, tensor, config)
        errors[name] = one.errors(tensor)
        return one.values()

    (folder / FINAL).mkdir(parents=True, exist_ok=True)
    write_weights(folder / FINAL / MODEL, shapes, make)
    write_rounded(folder / SMALL, rounded())
    return {
        "format": FORMAT,
        "bits": config.bits,
        "group": config.group,
        "taken_sha256": hash_file(before),
        "weights_sha256": write_manifest(folder / FINAL),
        "quantized_sha256": hash_file(folder / SMALL),
        "errors": errors,
    }
