"""The parent of a continued run: its data order, its token shards, and how far it has trained.

A continued run takes the parent's mixture as a base (`pack.base`): the parent's shards are taken over by hash, not
tokenized again, and each of its sources goes on at the window where the parent stopped, in the parent's shuffle. That
holds over several generations, since a parent's record says what its own parents drew.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigError, DataError
from data.chat import Form
from data.corpus.keys import SUFFIX as KEYS_SUFFIX
from data.corpus.keys import read_keys
from data.loader import check_vectors, form_of, read_record
from data.order import order_of
from data.orderfile import describe
from data.packconfig import BaseConfig, Unit
from data.shards import verify_shard

# A copy of the parent's order.json in the child's pack: with it and the shards beside it the child can be made again.
COPY = "parent-order.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A parent's record and what the child takes of it.

    folder   where its shards lie
    weights  of the phase that the child takes as its base
    consumed samples that the parent has trained on
    sources  those with a weight, as the child's order.json lists them: with the parent's seed and `drawn`
    """

    base: BaseConfig
    folder: Path
    record: Mapping[str, Any]
    weights: Mapping[str, int]
    consumed: int
    sources: Sequence[Mapping[str, Any]]

    @property
    def facts(self) -> dict[str, Any]:
        """What the child's order.json says of its parent."""
        return {
            "data_root": self.base.sha256,
            "share": self.base.share,
            "consumed_samples": self.consumed,
            "weights": dict(self.weights),
        }

    @property
    def taken(self) -> dict[str, Any]:
        """What the child's artifact says of what it has from its parent."""
        counts = {
            source["name"]: {name: source[name] for name in ("documents", "tokens", "windows", "drawn")}
            for source in self.sources
        }
        return {"data_root": self.base.sha256, "sources": counts}

    def check_tokenizer(self, sha256: str) -> None:
        """Raise ConfigError unless the parent's tokens are of the tokenizer with this SHA-256."""
        theirs = self.record["tokenizer_sha256"]
        if theirs != sha256:
            raise ConfigError(
                f"the parent's tokens in {self.folder} were made by tokenizer {theirs}, this run's is {sha256}; take "
                "the parent's tokenizer over, with tokenizer.model and tokenizer.sha256"
            )

    def take_shards(self, folder: Path) -> None:
        """Bring the shards of the sources, checked, and a copy of order.json into a folder, by hard link if it can be.

        Raises DataError naming the shard that is missing or damaged.
        """
        for source in self.sources:
            for sidecar in source["shards"]:
                verify_shard(self.folder, sidecar)
                read_keys(self.folder, sidecar)
                for suffix in (".bin", ".idx", ".json", KEYS_SUFFIX):
                    name = f"{sidecar['name']}{suffix}"
                    _link(self.folder / name, folder / name)
        _link(self.base.order, folder / COPY)


def open_parent(base: BaseConfig, *, seq_len: int) -> Parent:
    """Read the parent of a run with windows of `seq_len`, without looking at its shards.

    Raises DataError if its record is missing, damaged or another than the recipe names; ConfigError if the child asks
    what the parent cannot give.
    """
    if base.order == Path():
        raise ConfigError(f"pack.base.order is not given; name the order.json of the parent, SHA-256 {base.sha256}")
    record, root = read_record(base.order.parent, name=base.order.name)
    if root != base.sha256:
        raise DataError(f"{base.order} has SHA-256 {root}, pack.base.sha256 is {base.sha256}; correct one of them")
    if form_of(record) is not Form.TEXT:
        raise ConfigError(f"{base.order} orders {form_of(record).value}; a base is of text, so leave out pack.base")
    check_vectors(record, base.order)
    consumed = _consumed(base, seq_len=record["seq_len"])
    if seq_len != record["seq_len"] and consumed:
        raise ConfigError(
            f"pack.seq_len is {seq_len}, the parent's {record['seq_len']}: windows of another length cannot go on "
            "where it stopped; keep its seq_len, or set pack.base.consumed to 0 to start its sources afresh"
        )
    weights = _weights(base, record["phases"])
    return Parent(
        base=base,
        folder=base.order.parent,
        record=record,
        weights=weights,
        consumed=consumed,
        sources=_sources(record, names=weights, consumed=consumed, seq_len=seq_len),
    )


def _consumed(base: BaseConfig, *, seq_len: int) -> int:
    if base.unit is Unit.SAMPLES:
        return base.consumed
    samples, rest = divmod(base.consumed, seq_len)
    if rest:
        raise ConfigError(
            f"pack.base.consumed is {base.consumed} tokens, no whole number of the parent's windows of {seq_len}; give "
            "what the last line of its ledger says"
        )
    return samples


def _weights(base: BaseConfig, phases: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    if not base.phase and len(phases) == 1:
        (chosen,) = phases
    else:
        named = {phase.get("name", ""): phase for phase in phases}
        if base.phase not in named or not base.phase:
            raise ConfigError(
                f"pack.base.phase is {base.phase!r}; name the phase of the parent whose weights are to be the base: "
                f"{', '.join(filter(None, named)) or 'it has only one, leave it out'}"
            )
        chosen = named[base.phase]
    return {name: weight for name, weight in chosen["weights"].items() if weight}


def _sources(
    record: Mapping[str, Any], *, names: Mapping[str, int], consumed: int, seq_len: int
) -> list[dict[str, Any]]:
    drawn = order_of(record).drawn(consumed)
    sources = []
    for source in (source for source in record["sources"] if source["name"] in names):
        is_same = seq_len == record["seq_len"]
        again = source if is_same else describe(source["name"], source["shards"], seq_len=seq_len)
        seed = source.get("seed", record["seed"])
        sources.append({**again, "seed": seed, "drawn": drawn[source["name"]] if is_same else 0})
    return sources


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
