"""Weights and optimizer state from elsewhere as a checkpoint of ours, from which `train.start` goes on.

Three kinds of folders are read, all of safetensors; a pickle is never opened:

    an export of ours    with state.json: step, moments and spike state go on where they stood, bit for bit
    plain weights        model.safetensors under our names, and nothing else: step 0, moments of zero
    Hugging Face         config.json and safetensors of a Llama, or Qwen3 with normed heads, in fp32, bf16 or fp16, all
                         exact in fp32: step 0, moments of zero

Of which files a state was made stands in the checkpoint's state.json, and from there in the first line of the ledger.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.durable import told_full_disks
from core.errors import ConfigError, DataError
from core.hashing import hash_file
from model.names import hugging_face_name
from model.transformer import Transformer
from train.checkpoint import allocate_files, write_headers, write_stretches
from train.exchange import CONFIG, FORMAT
from train.groups import MOMENT_PREFIXES, groups_of
from train.pieces import Stretch, chunk_hashes, root_of
from train.placed import kept_names
from train.recipe import Recipe
from train.spikes import Measured
from train.store import (
    MODEL,
    OPTIMIZER,
    STATE,
    Checkpoint,
    Position,
    aside_of,
    commit,
    folder_name,
    layouts_of,
    open_checkpoint,
)

LEDGER = "ledger.jsonl"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".distcp", ".metadata")
# A zip file, as torch.save writes it, and pickles of protocols 2 to 5.
PICKLE_STARTS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# Everything that becomes fp32 without rounding.
EXACT = (torch.float32, torch.bfloat16, torch.float16)
SQUARES = "exp_avg_sq."


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a folder holds: where in which run it stands, its files, and what they call our tensors.

    `state_root` is what the tensors must have; empty if nobody said. `dtypes` are those that are taken.
    """

    position: Position
    measured: Measured | None
    files: list[Path]
    names: Mapping[str, str]
    dtypes: tuple[torch.dtype, ...]
    imported: Mapping[str, Any]


def import_state(folder: Path, place: Path, *, recipe: Recipe) -> Checkpoint:
    """Make a checkpoint in `place`, or find the same one there.

    Raises DataError naming the first file or tensor that is missing, damaged or of another kind than the recipe's
    model has, ConfigError if the recipe has no use for what is there.
    """
    shapes = kept_shapes(recipe)
    source = read_source(folder, recipe=recipe, names=list(shapes))
    if (place.absolute().parent / LEDGER).exists():
        raise ConfigError(f"{place} belongs to a run, which alone writes there; give --to another folder")
    aside = aside_of(place, source.position.step, 0)
    shutil.rmtree(aside, ignore_errors=True)
    with ExitStack() as opened:
        tensors = _open_all(source, folder, opened)
        _check_names(folder, tensors, source)
        place.mkdir(parents=True, exist_ok=True)
        opened.callback(shutil.rmtree, aside, ignore_errors=True)
        opened.enter_context(told_full_disks(place))
        layouts = layouts_of(shapes)
        allocate_files(aside, layouts)
        write_headers(aside, layouts)
        hashes = chunk_hashes(write_stretches(aside, _stretches(source, tensors, shapes), layouts))
        return _commit(source, aside, place, hashes=hashes)


def open_weights(
    folder: Path, wanted: Mapping[str, Tensor], *, recipe: Recipe, opened: ExitStack
) -> Iterator[tuple[str, Tensor]]:
    """The weights of a folder by our names, in fp32, one in memory at a time; `wanted` has their shapes.

    Raises DataError naming the first file or tensor that is missing, damaged or of another kind.
    """
    source = read_source(folder, recipe=recipe, names=list(wanted))
    tensors = _open_all(source, folder, opened)
    _check_names(folder, tensors, source)
    for name, own in wanted.items():
        theirs = source.names[name]
        yield name, _checked(theirs, tensors[theirs].get_tensor(theirs), own.shape, source)


def kept_shapes(recipe: Recipe) -> dict[str, torch.Size]:
    """The shapes of weights and moments of a recipe's runs, by name."""
    with torch.device("meta"):
        model = Transformer(recipe.model, recipe.profile.attention)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    groups = groups_of(shapes, train=recipe.train, model=recipe.model)
    return {kept: shape for name, shape in shapes.items() for kept in kept_names(name, groups)}


def read_source(folder: Path, *, recipe: Recipe, names: list[str]) -> Source:
    """Tell what kind of folder it is, and check all but its tensors."""
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; give the one that holds model.safetensors")
    if (folder / STATE).exists():
        return _exported(folder, names)
    pickles = sorted(path.name for path in folder.iterdir() if path.name.endswith(PICKLES))
    is_whole = (folder / MODEL).exists()
    if not is_whole and not (folder / INDEX).exists():
        told = f"only {pickles[0]}, a pickle, which is never opened" if pickles else f"no {MODEL}"
        raise DataError(f"{folder} holds {told}; save the weights as safetensors")
    if (folder / OPTIMIZER).exists():
        raise DataError(
            f"{folder} has {OPTIMIZER} but no {STATE} that says of which step; remove it to start at step 0"
        )
    files = [folder / MODEL] if is_whole else _listed(folder / INDEX)
    weights = [name for name in names if not name.startswith(MOMENT_PREFIXES)]
    kind, own = "plain weights", {name: name for name in weights}
    if (folder / CONFIG).exists():
        _check_config(folder / CONFIG, recipe)
        kind, own = "hugging face", {name: hugging_face_name(name) for name in weights}
    for path in files:
        if not path.exists():
            raise DataError(f"{path} is missing, which {INDEX} names; copy the folder again")
    return Source(
        position=Position(step=0, tokens=0, ledger_head="", state_root="", identity=""),
        measured=None,
        files=files,
        names=own,
        dtypes=EXACT if (folder / CONFIG).exists() else EXACT[:1],
        imported={"kind": kind, "files": {path.name: hash_file(path) for path in files}},
    )


def _exported(folder: Path, names: list[str]) -> Source:
    """An export of ours, whose files are what its state.json says."""
    path = folder / STATE
    try:
        state = json.loads(path.read_bytes())
        if state.get("format") != FORMAT:
            raise DataError(f"{path} is not of format {FORMAT}; export the state again with this code")
        if state["tensors"] != "safetensors":
            raise DataError(f"{folder} holds {state['tensors']}, whose table is a pickle; export it as safetensors")
        step, tokens = (_count(state[name]) for name in ("step", "tokens"))
        position = Position(step=step, tokens=tokens, **_origin(state["origin"]))
        measured = Measured.of(state["spikes"]) if "spikes" in state else None
        entries = {str(entry["path"]): (int(entry["bytes"]), str(entry["sha256"])) for entry in state["files"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}); export the state again") from error
    for name in (MODEL, OPTIMIZER):
        file = folder / name
        if name not in entries or not file.exists():
            raise DataError(f"{file} is missing; export the state again")
        if (file.stat().st_size, hash_file(file)) != entries[name]:
            raise DataError(f"{file} is not what {STATE} says ({entries[name][0]} bytes); copy the export again")
    return Source(
        position=position,
        measured=measured,
        files=[folder / MODEL, folder / OPTIMIZER],
        names={name: name for name in names},
        dtypes=EXACT[:1],
        imported={"kind": "export", "files": {STATE: hash_file(path)}},
    )


def _origin(origin: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(origin[name]) for name in ("ledger_head", "state_root", "identity")}


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _listed(index: Path) -> list[Path]:
    """The files that Hugging Face's index names, none outside of the folder."""
    try:
        named = sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{index} is no index of safetensors files ({error}); copy the folder again") from error
    for name in named:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise DataError(f"{index} names {name}, which is no safetensors file of this folder")
    return [index.parent / name for name in named]


def _check_config(path: Path, recipe: Recipe) -> None:
    """Raise ConfigError naming the first entry of config.json that the recipe's model has otherwise."""
    model = recipe.model
    if model.logit_softcap or model.base_dim:
        raise ConfigError("model.logit_softcap and model.base_dim have no counterpart at Hugging Face; set both to 0")
    try:
        config = json.loads(path.read_bytes())
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        theta = config.get("rope_theta", rope.get("rope_theta"))
        found = {**config, "rope_theta": theta, "rope_type": rope.get("rope_type", rope.get("type", "default"))}
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error}); copy the folder again") from error
    for name, (wanted, default) in _wanted(recipe).items():
        value = found.get(name)
        value = default if value is None else value
        if value != wanted:
            raise ConfigError(
                f"{path} has {name} {value!r}, the recipe's model {wanted!r}; make section model the same"
            )


def _wanted(recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """What the configuration must say, and what it means if it says nothing."""
    model = recipe.model
    return {
        "model_type": ("qwen3" if model.is_qk_normed else "llama", None),
        "hidden_size": (model.dim, None),
        "intermediate_size": (model.ffn_dim, None),
        "num_hidden_layers": (model.n_layers, None),
        "num_attention_heads": (model.n_heads, None),
        "num_key_value_heads": (model.n_kv_heads, model.n_heads),
        "head_dim": (model.head_dim, model.head_dim),
        "vocab_size": (model.vocab_size, None),
        "rope_theta": (model.rope_theta, 10000.0),
        "rope_type": ("default", "default"),
        "rms_norm_eps": (model.norm_eps, None),
        "tie_word_embeddings": (model.is_embedding_tied, False),
        "hidden_act": ("silu", "silu"),
        "attention_bias": (False, False),
        "mlp_bias": (False, False),
    }


def _open_all(source: Source, folder: Path, opened: ExitStack) -> dict[str, Any]:
    """The open file of every tensor, by the folder's names; safetensors holds headers against sizes."""
    tensors: dict[str, Any] = {}
    for path in source.files:
        try:
            stream = opened.enter_context(safe_open(path, framework="pt"))
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path} is {_told_of(path, error)}; give a whole safetensors file") from error
        for name in stream.keys():  # noqa: SIM118 (no mapping)
            if name in tensors:
                raise DataError(f"{folder} holds tensor {name} in two files; copy the folder again")
            tensors[name] = stream
    return tensors


def _told_of(path: Path, error: Exception) -> str:
    with path.open("rb") as stream:
        is_pickle = stream.read(2) in PICKLE_STARTS
    return "a pickle, which is never opened" if is_pickle else f"cut off or damaged ({error})"


def _check_names(folder: Path, tensors: Mapping[str, Any], source: Source) -> None:
    wanted = set(source.names.values())
    missing, extra = sorted(wanted - tensors.keys()), sorted(tensors.keys() - wanted)
    hint = "give the recipe whose model and optimizer this is"
    if missing:
        raise DataError(f"{folder} lacks tensor {missing[0]} ({len(missing)} in all); {hint}")
    if extra:
        raise DataError(f"{folder} has tensor {extra[0]}, which the recipe has not ({len(extra)} in all); {hint}")


def _stretches(source: Source, tensors: Mapping[str, Any], shapes: Mapping[str, torch.Size]) -> Iterator[Stretch]:
    """Every tensor in fp32, one in memory at a time. Raises DataError naming the first that cannot be taken."""
    for name, shape in shapes.items():
        if name in source.names:
            theirs = source.names[name]
            yield Stretch(name, 0, _checked(theirs, tensors[theirs].get_tensor(theirs), shape, source).reshape(-1))
        else:
            yield Stretch(name, 0, torch.zeros(shape.numel()))


def _checked(name: str, tensor: Tensor, shape: torch.Size, source: Source) -> Tensor:
    told = f"tensor {name} of {source.files[0].parent}"
    if tensor.shape != shape:
        raise DataError(f"{told} has shape {list(tensor.shape)}, the recipe's has {list(shape)}; give its own recipe")
    if tensor.dtype not in source.dtypes:
        taken = " or ".join(str(dtype).removeprefix("torch.") for dtype in source.dtypes)
        raise DataError(f"{told} is {str(tensor.dtype).removeprefix('torch.')}; only {taken} is taken")
    if not bool(tensor.isfinite().all()):
        raise DataError(f"{told} holds a value that is not finite; training cannot go on from it")
    if name.startswith(SQUARES) and bool((tensor < 0).any()):
        raise DataError(f"{told} is an average of squares and holds a negative value; export the state again")
    return tensor.float().contiguous()


def _commit(source: Source, aside: Path, place: Path, *, hashes: Mapping[str, list[bytes]]) -> Checkpoint:
    root = root_of(hashes)
    if source.position.state_root not in ("", root):
        raise DataError(
            f"{source.files[0].parent} has state root {root}, its {STATE} says {source.position.state_root}; one of "
            "them was edited: export again"
        )
    position = replace(source.position, state_root=root)
    final = place / folder_name(position.step)
    if final.exists():
        there = open_checkpoint(final)
        if (there.position, there.imported) != (position, source.imported):
            raise ConfigError(f"{final} holds another state; give --to another folder")
        return there
    return commit(
        aside,
        position,
        hashes=hashes,
        measured=source.measured,
        witness=place,
        generation=0,
        imported=source.imported,
    )
