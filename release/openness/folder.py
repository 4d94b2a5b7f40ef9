"""Somebody else's release: a folder of weights as Hugging Face's libraries write it. Nothing in it is run.

Most of what a card says cannot be checked from the folder, so it is said to be declared. A part that is only named
(a library that has the architecture, a data set on a hub) is missing: no hash ties it to these weights.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from core.errors import ConfigError, DataError
from release.openness.components import BY_KEY, MISSING, Found, Status
from release.openness.facts import Facts, Parent, Source
from release.shapes import CONFIG, WEIGHTS, first_strange_shape, read_config, say
from release.weights import count_parameters, read_tensors

CARD = "README.md"
MIN_CARD_WORDS = 100
MAX_CARD_CHARS = 1 << 20
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def is_folder_of_weights(folder: Path) -> bool:
    """Whether a folder looks like one."""
    return (folder / CONFIG).is_file() or bool(_weights(folder)) or (folder / CARD).is_file()


def folder_facts(folder: Path) -> Facts:
    """What is known of a folder. Raises ConfigError if it holds neither configuration, weights nor card."""
    if not is_folder_of_weights(folder):
        raise ConfigError(f"{folder} holds no bundle, no {CONFIG}, no weights and no {CARD}; name a release's folder")
    head, body = read_card(folder)
    licence = " AND ".join(_texts(head.get("license_name" if head.get("license") == "other" else "license")))
    config = read_config(folder) if (folder / CONFIG).is_file() else {}
    found = _found(folder, head=head, body=body, licence=licence, config=config)
    weights = [path for path in _weights(folder) if found["final"].status is Status.PRESENT]
    return Facts(
        name=str(config.get("_name_or_path") or "") or folder.resolve().name,
        licence=licence,
        found=found,
        parameters=count_parameters(weights),
        architecture=", ".join(map(str, config.get("architectures") or [])),
        context_tokens=int(config.get("max_position_embeddings") or 0),
        vocab_size=int(config.get("vocab_size") or 0),
        dtype=str(config.get("dtype") or config.get("torch_dtype") or ""),
        sources=[
            Source(name=name, locator=name, licence="", language="", kind="named in the card")
            for name in _texts(head.get("datasets"))
        ],
        languages=dict.fromkeys(_texts(head.get("language")), 0),
        parents=[
            Parent(
                name=name,
                licence="NOASSERTION",
                relation=", ".join(_texts(head.get("base_model_relation"))) or "base model",
            )
            for name in _texts(head.get("base_model"))
        ],
    )


def read_card(folder: Path) -> tuple[Mapping[str, Any], str]:
    """The head and the text of README.md; empty if there is none. Raises DataError if the head is no YAML mapping."""
    path = folder / CARD
    if not path.is_file():
        return {}, ""
    with path.open(encoding="utf-8", errors="replace") as stream:
        text = stream.read(MAX_CARD_CHARS)
    if not text.startswith("---\n"):
        return {}, text
    head, _, body = text[4:].partition("\n---")
    try:
        said = yaml.safe_load(head) or {}
    except (yaml.YAMLError, RecursionError) as error:
        raise DataError(f"the head of {path} is no YAML: {error}; mend it") from error
    if not isinstance(said, dict):
        raise DataError(f"the head of {path} is no mapping; mend it")
    return said, body


def _found(
    folder: Path, *, head: Mapping[str, Any], body: str, licence: str, config: Mapping[str, Any]
) -> dict[str, Found]:
    code = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    found = {
        "final": _final(folder, licence, config),
        "architecture": _architecture(config, code),
        "tokenizer": _files(folder, ("tokenizer.json", "tokenizer.model", "vocab.json"), licence),
        "model_card": _card(body, licence),
        "results": _results(head, licence),
        "evaluation_code": MISSING,
        "datasets": _named(head.get("datasets"), "named in the card, not inside and not tied by a hash"),
        "lineage": _named(head.get("base_model"), "base model named in the card, not tied by a hash"),
        "metadata": _files(folder, ("training_args.json", "trainer_state.json"), licence),
        "data_card": _files(folder, ("DATASHEET.md", "data_card.md", "CARD.md"), licence),
    }
    return {key: found.get(key, MISSING) for key in BY_KEY}


def _final(folder: Path, licence: str, config: Mapping[str, Any]) -> Found:
    paths = _weights(folder)
    if not paths:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if not pickles:
            return MISSING
        size = sum((folder / name).stat().st_size for name in pickles)
        note = "pickles, which are programs: not opened, so nothing is known of them"
        return Found(
            status=Status.PRESENT, paths=tuple(pickles), bytes=size, licence=licence, proof="declared", note=note
        )
    names, size = tuple(path.name for path in paths), sum(path.stat().st_size for path in paths)
    try:
        for path in paths:
            _check_size(path)
        proof = "headers can be read; their shapes were not held against config.json"
        if config and names == (WEIGHTS,):
            strange, proof = first_strange_shape(folder), say(dict(config))
            if strange:
                raise DataError(strange)
        _check_index(folder)
    except DataError as error:
        said = str(error).replace(f"{folder}/", "")
        return Found(status=Status.BROKEN, paths=names, bytes=size, licence=licence, note=said)
    return Found(status=Status.PRESENT, paths=names, bytes=size, licence=licence, proof=proof)


def _check_size(path: Path) -> None:
    ends = max((tensor.end for tensor in read_tensors(path).values()), default=0)
    if ends > path.stat().st_size:
        raise DataError(f"{path} is cut short: its tensors end at byte {ends}, it has {path.stat().st_size}")


def _check_index(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    if not path.is_file():
        return
    try:
        named = set(json.loads(path.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged: {error}") from error
    absent = sorted(name for name in named if not (folder / str(name)).is_file())
    if absent:
        raise DataError(f"{absent[0]} is named by {path.name} and not there")


def _architecture(config: Mapping[str, Any], code: list[str]) -> Found:
    if code:
        note = "code lies beside the weights; it was not run, and no licence of its own is stated"
        return Found(status=Status.PRESENT, paths=tuple(code), licence="", proof="declared", note=note)
    named = ", ".join(map(str, config.get("architectures") or []))
    return Found(status=Status.MISSING, note=f"named ({named}), not inside and no version pinned") if named else MISSING


def _card(body: str, licence: str) -> Found:
    if not body.strip():
        return MISSING
    if len(body.split()) < MIN_CARD_WORDS:
        return Found(status=Status.MISSING, paths=(CARD,), note=f"has {len(body.split())} words, which is no card")
    return Found(status=Status.PRESENT, paths=(CARD,), bytes=len(body), licence=licence, proof="declared")


def _results(head: Mapping[str, Any], licence: str) -> Found:
    entries = head.get("model-index")
    if not isinstance(entries, list) or not any(isinstance(item, dict) and item.get("results") for item in entries):
        return MISSING
    return Found(status=Status.PRESENT, paths=(CARD,), licence=licence, proof="declared in the card's model-index")


def _named(value: Any, note: str) -> Found:
    names = _texts(value)
    return Found(status=Status.MISSING, note=f"{', '.join(names)}: {note}") if names else MISSING


def _files(folder: Path, names: tuple[str, ...], licence: str) -> Found:
    there = tuple(name for name in names if (folder / name).is_file())
    if not there:
        return MISSING
    size = sum((folder / name).stat().st_size for name in there)
    return Found(status=Status.PRESENT, paths=there, bytes=size, licence=licence, proof="declared")


def _weights(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.safetensors") if path.is_file())


def _texts(value: Any) -> list[str]:
    """The texts of a field that holds one or a list. Nothing else is spelled out: nested aliases could fill memory."""
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
