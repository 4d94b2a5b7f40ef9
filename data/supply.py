"""How many tokens each source has: exact where it is packed, else estimated from what has been made so far.

Looked at in turn, for every source by itself:
    parent   the parent's order.json: exact
    pack     the pack artifact, if it is of the clean and tokenizer artifacts that are there: exact
    clean    report.json: bytes of training text / bytes a token + 2 marks a document; an estimate
    fetch    sources.json: bytes of the fetched files, as they are, with markup and compression; a guess
    files    bytes of the files at the source's path; a guess
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from core.artifact import Artifact, current
from core.config import RunConfig
from core.errors import ConfigError, DataError
from data.chat import Form
from data.course import Course
from data.loader import read_record
from data.orderfile import windows_of
from data.packconfig import PackConfig
from data.report import REPORT
from data.sources.config import SourceConfig

# BPE of 8 k and 32 k pieces gives 3.1 and 3.7 on English manuals; used until there is a tokenizer to measure.
BYTES_PER_TOKEN = 3.5
INPUTS = ("clean", "tokenizer")
INDEX = "sources.json"


class Basis(Enum):
    """What the number of a source's tokens rests on."""

    PARENT = "parent"
    PACK = "pack"
    CLEAN = "clean"
    FETCH = "fetch"
    FILES = "files"

    @property
    def is_exact(self) -> bool:
        """Whether the tokens have been counted."""
        return self in (Basis.PARENT, Basis.PACK)

    @property
    def is_guess(self) -> bool:
        """Whether not even the text has been measured, only the files that hold it."""
        return self in (Basis.FETCH, Basis.FILES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What a source has. `drawn` windows of it were taken by the runs before.

    documents, targets  of conversations and pairs: how many, and how many of their targets count; 0 where not known
    """

    name: str
    tokens: int
    windows: int
    basis: Basis
    drawn: int = 0
    documents: int = 0
    targets: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The artifacts that a recipe's run has so far, each None if it is not there."""

    fetch: Artifact | None
    clean: Artifact | None
    tokenizer: Artifact | None
    pack: Artifact | None


def find_made(run: RunConfig) -> Made:
    """The artifacts of a run's last stages; a pack of another clean or tokenizer artifact does not count.

    Raises DataError if one that is named is not there.
    """
    found = {stage: _current(run.inputs_folder, stage) for stage in ("fetch", *INPUTS)}
    pack = _current(run.out_folder, "pack") or _current(run.inputs_folder, "pack")
    known = {stage: artifact.digest for stage in INPUTS if (artifact := found[stage])}
    if pack and any(pack.record["inputs"].get(stage) != digest for stage, digest in known.items()):
        pack = None
    return Made(**found, pack=pack)


def _current(folder: Path, stage: str) -> Artifact | None:
    return current(folder, stage) if (folder / f"{stage}.json").exists() else None


def find_supplies(course: Course, sources: Mapping[str, SourceConfig], made: Made) -> list[Supply]:
    """What every source of a course has, sorted by name; `sources` are those of the recipe.

    Raises ConfigError for a source with a weight and less than a window of text, DataError if nothing is known of one.
    """
    seq_len = course.config.seq_len
    found = [
        Supply(
            name=source["name"],
            tokens=source["tokens"],
            windows=source["windows"],
            basis=Basis.PARENT,
            drawn=source["drawn"],
        )
        for source in course.parent_sources
    ]
    for name in course.config.sources:
        if course.config.form is not Form.TEXT and (whole := _whole(name, course.config, made)):
            found.append(whole)
            continue
        tokens, basis = _tokens(sources[name], made)
        windows = windows_of(tokens, seq_len=seq_len)
        if not windows:
            raise ConfigError(
                f"source {name} has a weight but only {_about(tokens, basis)} tokens, less than one window of "
                f"{seq_len + 1}; take its weight out, or give it documents"
            )
        found.append(Supply(name=name, tokens=tokens, windows=windows, basis=basis))
    return sorted(found, key=lambda supply: supply.name)


def _whole(name: str, config: PackConfig, made: Made) -> Supply | None:
    """What a source of conversations or pairs has, counted or estimated; None while its text is not cleaned.

    Conversations are taken to fill their windows, and a pair is always one.
    """
    if made.pack and (packed := _named(read_record(made.pack.folder)[0]["sources"], name)):
        counts = {count: packed[count] for count in ("tokens", "windows", "documents", "targets")}
        return Supply(name=name, basis=Basis.PACK, **counts)
    train = _read(made.clean, REPORT)["sources"].get(name, {}).get("train") if made.clean else None
    if train is None:
        return None
    tokens = round(train["bytes"] / _ratio(name, made.tokenizer)) + 2 * train["documents"]
    windows = train["documents"] if config.form is Form.PAIRS else -(-tokens // (config.seq_len + 1))
    return Supply(name=name, tokens=tokens, windows=windows, basis=Basis.CLEAN, documents=train["documents"])


def _about(tokens: int, basis: Basis) -> str:
    return f"{tokens:,}" if basis.is_exact else f"about {tokens:,}"


def _tokens(source: SourceConfig, made: Made) -> tuple[int, Basis]:
    ratio = _ratio(source.name, made.tokenizer)
    if made.pack and (packed := _named(read_record(made.pack.folder)[0]["sources"], source.name)):
        return packed["tokens"], Basis.PACK
    if made.clean and (report := _read(made.clean, REPORT)["sources"].get(source.name)):
        return round(report["train"]["bytes"] / ratio) + 2 * report["train"]["documents"], Basis.CLEAN
    if made.fetch and (fetched := _named(_read(made.fetch, INDEX), source.name)):
        return round(fetched["bytes"] / ratio), Basis.FETCH
    return round(_bytes_at(source) / ratio), Basis.FILES


def _named(records: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    return next((record for record in records if record["name"] == name), None)


def _read(artifact: Artifact, name: str) -> Any:
    try:
        return json.loads((artifact.folder / name).read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"no readable {artifact.folder / name}: {error}; run the stage that makes it again") from error


def _ratio(source: str, tokenizer: Artifact | None) -> float:
    """Bytes a token: as the tokenizer was measured on the held-out documents of the source or of all, if it was."""
    if not tokenizer:
        return BYTES_PER_TOKEN
    facts = tokenizer.facts
    return facts["bytes_per_token_by_source"].get(source) or facts["bytes_per_token"] or BYTES_PER_TOKEN


def _bytes_at(source: SourceConfig) -> int:
    # an absolute glob is no pattern below the current directory, so the root is taken off
    anchor = Path(source.path.anchor)
    paths = list(anchor.glob(str(source.path.relative_to(anchor)))) if source.path != Path() else []
    if not paths:
        raise DataError(
            f"nothing is known yet of how much text source {source.name} has; run python -m data fetch first, "
            "or clean for a better estimate"
        )
    return sum(path.stat().st_size for path in paths if path.is_file())
