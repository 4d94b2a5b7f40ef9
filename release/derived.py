"""The check of weights that were made of other weights: merged or quantized again, they are the same to the bit.

No step of training is in them, so this is their whole replay, and cheap. It needs the weights that they were made of:
those of the run's own training are in its checkpoints, those of other models below `parents/weights/`, or where
`--parent` says. The arithmetic is fp64 of single elements, so it does not hang on the numerics profile
(posttrain/arithmetic.py).
"""

import json
import shutil
from pathlib import Path

from core.errors import DataError
from core.hashing import hash_file
from release.contents import MERGE, QUANTIZE, TRAIN, Bundle
from release.lineage import WEIGHTS, find_weights, weights_folder
from release.stage import ask
from release.verdict import InconclusiveError

REDONE = "redone"


def derived(bundle: Bundle) -> str:
    """Make the merged, then the quantized weights again. Raises DataError if other ones come out, InconclusiveError if
    what they were made of is not here."""
    said = []
    for stage in (MERGE, QUANTIZE):
        if stage in bundle.stages:
            redone(bundle, stage)
            record = bundle.read_json(f"logs/{stage}.json")
            said.append(f"{stage}: weights {record['weights_sha256'][:12]} come out again, {SAID[stage](record)}")
    return "; ".join(said)


def redone(bundle: Bundle, stage: str) -> Path:
    """The weights of a stage, made again once; they are what the stage says that it made."""
    out = bundle.scratch / REDONE / stage
    made = out / "final" / WEIGHTS
    if not made.is_file():
        _redo(bundle, stage, out)
    return made


def _redo(bundle: Bundle, stage: str, out: Path) -> None:
    files = merged_files(bundle) if stage == MERGE else [_quantized_file(bundle)]
    record, facts = bundle.read_json(f"logs/{stage}.json"), bundle.artifacts[stage]["facts"]
    code, recipe, given = bundle.runnable_code(), bundle.runnable_recipe(), json.dumps([str(path) for path in files])
    out.parent.mkdir(parents=True, exist_ok=True)
    where = ["--stage", stage, "--files", given, "--out", out]
    answer = json.loads(ask(code, "posttrain", "redo", recipe, *where, writable=out.parent).strip().splitlines()[-1])
    for place, found in {
        f"logs/{stage}.json": record["weights_sha256"],
        "the artifact": facts["weights_sha256"],
    }.items():
        if found != answer["weights_sha256"]:
            shutil.rmtree(out)
            raise DataError(f"stage {stage} made again gives weights {answer['weights_sha256']}, {place} says {found}")
    if answer["record"] != record:
        shutil.rmtree(out)
        raise DataError(f"logs/{stage}.json is not what comes out when stage {stage} is made again")


def merged_files(bundle: Bundle) -> list[Path]:
    """The files that were merged, in the order of the recipe. Raises InconclusiveError for one that is not here."""
    config = bundle.artifacts[MERGE]["config"]
    return [_file_of(bundle, source) for source in [*config["base"], *config["models"]]]


def _file_of(bundle: Bundle, source: dict[str, object]) -> Path:
    if source["step"]:
        folder = bundle.checkpoints.get(int(str(source["step"])))
        if folder is None:
            raise InconclusiveError(
                f"merged was the checkpoint of step {source['step']}, which is not in the bundle; release.checkpoint_"
                "every_steps says which are"
            )
        return folder / WEIGHTS
    sha256 = str(source["weights_sha256"])
    inside = weights_folder(bundle.folder, sha256) / WEIGHTS
    if inside.is_file():
        if hash_file(inside) != sha256:
            raise DataError(f"{inside} does not have SHA-256 {sha256}, by which the recipe names it")
        return inside
    found = find_weights(bundle.parent, sha256) if bundle.parent != Path() else None
    if found is None:
        raise InconclusiveError(
            f"merged were weights with SHA-256 {sha256}, which are not in the bundle; give a folder that holds them "
            "with --parent FOLDER"
        )
    return found


def _quantized_file(bundle: Bundle) -> Path:
    if MERGE in bundle.stages:
        return redone(bundle, MERGE)
    if TRAIN not in bundle.stages or not bundle.checkpoints:
        raise DataError("quantized were the weights of no stage that is in the bundle")
    return bundle.checkpoints[max(bundle.checkpoints)] / WEIGHTS


def _of_merge(record: dict[str, object]) -> str:
    models = record["models"]
    return f"by {record['method']} of {len(models) if isinstance(models, list) else 0} models"


def _of_quantize(record: dict[str, object]) -> str:
    return f"with {record['bits']} bits a weight"


SAID = {MERGE: _of_merge, QUANTIZE: _of_quantize}
