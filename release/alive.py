"""The check that weights, tokenizer and configuration belong together and load without code of their own.

Reads headers and configuration only. That the weights score as stated is for whoever scores them again.
"""

import json
from typing import Any

from core.errors import DataError
from core.hashing import hash_file
from release.contents import Bundle
from release.shapes import first_strange_shape, read_config, say

FOLDER = "weights/final"
# What can run when it is loaded, or makes a loader run something.
PROGRAMS = (".py", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".so")


def alive(bundle: Bundle) -> str:
    """Shapes as the configuration says, the tokenizer that the run trained, and nothing in the folder that runs.

    Raises DataError naming the first thing that does not fit.
    """
    folder = bundle.folder / FOLDER
    program = next((path.name for path in sorted(folder.rglob("*")) if path.suffix in PROGRAMS), "")
    if program:
        raise DataError(f"{FOLDER}/{program} is a program or a pickle, which no folder of weights needs")
    config = read_config(folder)
    if "auto_map" in config:
        raise DataError(f"{FOLDER}/config.json names code to be run (auto_map), which no folder of weights needs")
    strange = first_strange_shape(folder)
    if strange:
        raise DataError(f"{FOLDER}: {strange}")
    _check_model(bundle, config)
    _check_tokenizer(bundle)
    return f"{say(config)}; tokenizer and model are those of the run; nothing in the folder runs"


def _check_model(bundle: Bundle, config: dict[str, Any]) -> None:
    model = bundle.trained["model"]
    for theirs, ours in {
        "vocab_size": "vocab_size",
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "num_key_value_heads": "n_kv_heads",
        "max_position_embeddings": "max_seq_len",
        "rms_norm_eps": "norm_eps",
    }.items():
        if config[theirs] != model[ours]:
            raise DataError(f"{theirs} in {FOLDER}/config.json is {config[theirs]}, trained was {ours} {model[ours]}")
    # Older libraries read the one, newer ones the other; a folder that says two things loads as two models.
    for theta in (config["rope_theta"], config["rope_parameters"]["rope_theta"]):
        if theta != model["rope_theta"]:
            raise DataError(f"rope_theta in {FOLDER}/config.json is {theta}, trained was {model['rope_theta']}")


def _check_tokenizer(bundle: Bundle) -> None:
    trained, shipped = bundle.folder / "tokenizer/tokenizer.model", bundle.folder / FOLDER / "tokenizer.model"
    if hash_file(trained) != hash_file(shipped):
        raise DataError(f"{FOLDER}/tokenizer.model is not the tokenizer of the run")
    pieces = len(json.loads((bundle.folder / FOLDER / "tokenizer.json").read_bytes())["model"]["vocab"])
    if pieces != bundle.trained["model"]["vocab_size"]:
        raise DataError(
            f"{FOLDER}/tokenizer.json has {pieces} pieces, the model was trained with "
            f"{bundle.trained['model']['vocab_size']}"
        )
