"""Whether a run that takes another's weights packs its tokens with the tokenizer of those weights.

A tokenizer is compared by the hash of tokenizer.model, as order.json has it. That of the parent is known beside the
weights of a bundle or an export, and for a checkpoint in a finished run's folder from the artifacts that the run names
by digest. A parent without any is believed: nothing can be checked then.
"""

import json
from pathlib import Path

from core.artifact import RECORD
from core.errors import ConfigError
from core.hashing import hash_file, sha256_hex
from data.loader import Loader
from train.config import Takes
from train.parent import start_folder, weights_folder
from train.recipe import Recipe

MODEL = "tokenizer.model"
CHAIN = ("pack", "tokenizer")


def check_tokenizer(recipe: Recipe, loader: Loader) -> None:
    """Raise ConfigError if the parent's tokenizer is known and the pack has another."""
    start = recipe.train.start
    if start.takes is not Takes.WEIGHTS:
        return
    path = find_tokenizer(start_folder(start.checkpoint))
    if path is None:
        return
    from data.tokenizer import with_specials  # imports sentencepiece

    # One that was taken over for conversations has their special tokens in the places of the last merges.
    known = {hash_file(path), sha256_hex(with_specials(path.read_bytes()))}
    if loader.tokenizer_sha256 not in known:
        raise ConfigError(
            f"the pack has the tokenizer {loader.tokenizer_sha256[:12]}, but the weights of {start.checkpoint} were "
            f"made with {path}, {hash_file(path)[:12]}; set tokenizer.model to it and tokenizer.sha256 to its SHA-256"
        )


def find_tokenizer(folder: Path) -> Path | None:
    """The tokenizer.model of the weights in a checkpoint, a bundle or a folder, if it can be known."""
    weights = weights_folder(folder)
    bundles = [folder, *folder.absolute().parents[:2]] if weights == folder else [folder]
    for path in (weights / MODEL, *(bundle / "tokenizer" / MODEL for bundle in bundles)):
        if path.is_file():
            return path
    return _of_run(folder.absolute().parent.parent)


def _of_run(artifact: Path) -> Path | None:
    """By the artifacts that a finished training names: its pack, and that one's tokenizer, beside it."""
    for stage in CHAIN:
        record = artifact / RECORD
        digest = json.loads(record.read_bytes())["inputs"].get(stage) if record.is_file() else None
        found = (one for one in sorted(artifact.parent.glob(f"{stage}-*")) if (one / RECORD).is_file())
        match = next((one for one in found if digest and hash_file(one / RECORD) == digest), None)
        if match is None:
            return None
        artifact = match
    return artifact / MODEL
