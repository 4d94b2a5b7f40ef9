"""Verb redo: make merged or quantized weights again of files that are given, and print what comes out.

It is how these stages of a bundle are checked without the run's folder: `release verify` gives the files that the
bundle holds.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.arguments import take
from core.cli import recipe_and_overrides
from core.config import load
from core.errors import ConfigError
from core.hashing import hash_file
from model.config import ModelConfig
from posttrain.config import MergeConfig, QuantizeConfig
from posttrain.merge import merge_files, record_of
from posttrain.quantize import quantize_file
from posttrain.tensors import FINAL

USAGE = "python -m posttrain redo"


def main(arguments: list[str]) -> None:
    """`RECIPE --stage merge|quantize --files LIST --out DIR`.

    LIST is a JSON list of files, in the order of the sources.
    """
    given, rest = take(arguments, needed=("--stage", "--files", "--out"))
    recipe, overrides = recipe_and_overrides(rest, USAGE)
    files = [Path(name) for name in json.loads(given["--files"])]
    redo = {"merge": redo_merge, "quantize": redo_quantize}.get(given["--stage"])
    if redo is None:
        raise ConfigError(f"--stage is {given['--stage']}; give merge or quantize")
    sys.stdout.write(json.dumps(redo(recipe, overrides, files=files, out=Path(given["--out"]))) + "\n")


def redo_merge(recipe: str, overrides: Sequence[str], *, files: Sequence[Path], out: Path) -> Mapping[str, object]:
    """Merge again. Raises ConfigError if it is another number of files than the recipe names."""
    config = load(recipe, "merge", MergeConfig, overrides)
    if len(files) != len(config.sources):
        raise ConfigError(f"--files names {len(files)} files, the recipe's merge takes {len(config.sources)}")
    model = load(recipe, "model", ModelConfig, overrides)
    digest = merge_files(out / FINAL, files, config=config, model=model)
    record = record_of(config, [hash_file(path) for path in files], digest)
    return {"weights_sha256": digest, "record": record}


def redo_quantize(recipe: str, overrides: Sequence[str], *, files: Sequence[Path], out: Path) -> Mapping[str, object]:
    """Quantize again. Raises ConfigError if it is another number of files than one."""
    if len(files) != 1:
        raise ConfigError(f"--files names {len(files)} files; one model is quantized")
    config = load(recipe, "quantize", QuantizeConfig, overrides)
    record = quantize_file(out, files[0], config=config, model=load(recipe, "model", ModelConfig, overrides))
    return {"weights_sha256": record["weights_sha256"], "record": record}
