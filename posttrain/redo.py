"""Verb redo: make merged weights again of files that are given, and print the hash of what comes out.

It is how a bundle's merge is checked without the run's folder: `release verify` gives the files that the bundle holds.
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
from posttrain.config import MergeConfig
from posttrain.merge import merge_files, record_of

USAGE = "python -m posttrain redo"


def main(arguments: list[str]) -> None:
    """`RECIPE --stage merge --files LIST --out DIR`: LIST is a JSON list of the files, in the order of the sources."""
    given, rest = take(arguments, needed=("--stage", "--files", "--out"))
    recipe, overrides = recipe_and_overrides(rest, USAGE)
    files = [Path(name) for name in json.loads(given["--files"])]
    if given["--stage"] != "merge":
        raise ConfigError(f"--stage is {given['--stage']}; give merge")
    sys.stdout.write(json.dumps(redo_merge(recipe, overrides, files=files, out=Path(given["--out"]))) + "\n")


def redo_merge(recipe: str, overrides: Sequence[str], *, files: Sequence[Path], out: Path) -> Mapping[str, object]:
    """Merge again. Raises ConfigError if it is another number of files than the recipe names."""
    config = load(recipe, "merge", MergeConfig, overrides)
    if len(files) != len(config.sources):
        raise ConfigError(f"--files names {len(files)} files, the recipe's merge takes {len(config.sources)}")
    model = load(recipe, "model", ModelConfig, overrides)
    digest = merge_files(out, files, config=config, model=model)
    record = record_of(config, [hash_file(path) for path in files], digest)
    return {"weights_sha256": digest, "record": record}
