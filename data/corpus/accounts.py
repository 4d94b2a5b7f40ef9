"""What every stage took and gave, in numbers that must agree within a stage and from one stage to the next.

    clean      in = train + held out + dropped, in documents and bytes, for every source and in total
    tokenizer  what it was fed = the training split of clean; every byte of it is accounted for
    pack       documents of a source = its training split; its tokens = those of its shards = windows * seq_len + 1 +
               unused; of conversations and pairs: documents + dropped = its training split, tokens + padding = the
               room of the windows' rows

`check_accounts` asks only the manifest, so that whoever has no more than that can ask too.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.artifact import Artifact
from core.hashing import hash_value
from data.chat import Form
from data.loader import form_of
from data.report import Sieve
from data.wholes import rows_of

# Reasons with this beginning are errors of reading, the others are decisions.
UNREADABLE = "unreadable"
COUNTS = ("documents", "bytes")
WHOLE_COUNTS = ("tokens", "windows", "targets", "padding_tokens")
SPLITS = ("train", "heldout", "dropped")

Record = Mapping[str, Any]


def stage_accounts(inputs: Mapping[str, Artifact], *, cleaning: Record, training: Record, order: Record) -> list[Any]:
    """Every stage with what decides it by hash, what came in and went out, drops by reason and errors by class."""
    counts = {
        "fetch": fetch_counts(inputs["fetch"]),
        "clean": clean_counts(cleaning["total"]),
        "tokenizer": tokenizer_counts(training, order),
        "pack": pack_counts(order),
    }
    return [
        {
            "stage": stage,
            "key": artifact.record["key"],
            "digest": artifact.digest,
            "code": artifact.record["code"],
            "config_sha256": hash_value(artifact.record["config"]),
            "inputs": artifact.record["inputs"],
            **counts[stage],
        }
        for stage, artifact in inputs.items()
    ]


def fetch_counts(fetched: Artifact) -> dict[str, Any]:
    """Sources in, files out; of web archives the records by outcome."""
    index = json.loads((fetched.folder / "sources.json").read_bytes())
    files = [entry for source in index for entry in source["files"]]
    return {
        "in": {"sources": len(index)},
        "out": {"files": len(files), "bytes": sum(entry["bytes"] for entry in files)},
        "records": fetched.facts.get("records", {}),
    }


def clean_counts(total: Record) -> dict[str, Any]:
    """Documents and bytes in and out, drops by reason and errors by class, of all sources together."""
    reasons = total["dropped"]["reasons"]
    return {
        "in": total["in"],
        "out": {split: total[split] for split in ("train", "heldout")},
        "dropped": {reason: count for reason, count in reasons.items() if not reason.startswith(UNREADABLE)},
        "errors": {reason: count for reason, count in reasons.items() if reason.startswith(UNREADABLE)},
    }


def tokenizer_counts(training: Record, order: Record) -> dict[str, Any]:
    """Documents and bytes that the trainer was given (none, if a tokenizer was taken over), and what it made."""
    fed = training["fed"].values()
    return {
        "in": {"documents": sum(one["documents"] for one in fed), "bytes": sum(one["text_bytes"] for one in fed)},
        "out": {"pieces": order["vocab_size"]},
    }


def pack_counts(order: Record) -> dict[str, Any]:
    """Documents in; tokens and windows out; of conversations and pairs also what counts, and drops by reason."""
    sources = order["sources"]
    if form_of(order) is Form.TEXT:
        return {
            "in": {"documents": sum(source["documents"] for source in sources)},
            "out": {name: sum(source[name] for source in sources) for name in ("tokens", "windows", "unused_tokens")},
        }
    dropped = Counter[str]()
    for source in sources:
        dropped.update(source["dropped"])
    return {
        "in": {"documents": sum(source["documents"] for source in sources) + dropped.total()},
        "out": {name: sum(source[name] for source in sources) for name in WHOLE_COUNTS},
        "dropped": dict(dropped),
    }


def is_taken_over(manifest: Record) -> bool:
    """Whether the tokenizer is another run's, and no text of this corpus trained it."""
    return bool(manifest["recipe"]["sections"]["tokenizer"].get("sha256"))


def is_inherited(source: Record) -> bool:
    """Whether a source of the order is a parent's, whose shards were taken over (data/parent.py)."""
    return "drawn" in source


def check_accounts(manifest: Record) -> Iterator[str]:
    """Every equation of a manifest that does not hold, as one phrase."""
    yield from _check_cleaning(manifest["cleaning"])
    yield from _check_tokenizer(manifest)
    yield from _check_pack(manifest)
    yield from _check_stages(manifest)


def _check_cleaning(cleaning: Record) -> Iterator[str]:
    sources, total = cleaning["sources"], cleaning["total"]
    for name, counts in [*sources.items(), ("total", total)]:
        edited = counts["normalized_away_bytes"] + counts["edited_away_bytes"]
        for unit, away in (("documents", 0), ("bytes", edited)):
            out = sum(counts[split][unit] for split in SPLITS) + away
            if counts["in"][unit] != out:
                yield f"clean: {counts['in'][unit]} {unit} of {name} came in, {out} went out or were dropped"
        yield from _check_steps(name, counts)
        reasons = sum(counts["dropped"]["reasons"].values())
        if reasons != counts["dropped"]["documents"]:
            yield f"clean: {counts['dropped']['documents']} documents of {name} were dropped, {reasons} with a reason"
    for split in ("in", *SPLITS):
        for unit in COUNTS:
            found = sum(counts[split][unit] for counts in sources.values())
            if found != total[split][unit]:
                yield f"clean: {split} of all sources is {found} {unit}, the total says {total[split][unit]}"


def steps_of(counts: Record) -> list[tuple[str, Record]]:
    """The steps of cleaning that may drop, in the order in which they ran."""
    return [(sieve.value, counts["steps"][sieve.value]) for sieve in Sieve if sieve.value in counts["steps"]]


def _check_steps(name: str, counts: Record) -> Iterator[str]:
    """Every step of cleaning by itself, and from one to the next."""
    before, reasons = counts["in"], Counter[str]()
    for step, flow in steps_of(counts):
        dropped = sum(flow["dropped"].values())
        if flow["in"] != before:
            yield f"clean: {before} of {name} came to step {step}, it counted {flow['in']}"
        if flow["in"]["documents"] != flow["out"]["documents"] + dropped:
            into, out = flow["in"]["documents"], flow["out"]["documents"]
            yield f"clean: {into} documents of {name} came into step {step}, {out} went out and {dropped} were dropped"
        before, reasons = flow["out"], reasons + Counter(flow["dropped"])
    left = {unit: counts["train"][unit] + counts["heldout"][unit] for unit in COUNTS}
    if (before, reasons) != (left, Counter(counts["dropped"]["reasons"])):
        yield f"clean: the steps let {before} of {name} out and dropped {dict(reasons)}, {left} was written"


def _check_tokenizer(manifest: Record) -> Iterator[str]:
    fed, cleaned = manifest["tokenizer"]["training"]["fed"], manifest["cleaning"]["sources"]
    if is_taken_over(manifest):
        return
    for name in sorted(fed.keys() | cleaned.keys()):
        mine, train = fed.get(name, {}), cleaned.get(name, {}).get("train", {})
        for unit, said in (("documents", "documents"), ("text_bytes", "bytes")):
            if mine.get(unit, 0) != train.get(said, 0):
                yield f"tokenizer: fed {mine.get(unit, 0)} {said} of {name}, cleaning gave {train.get(said, 0)}"
        parts = sum(mine.get(part, 0) for part in ("fed_bytes", "newline_bytes", "reserved_bytes"))
        if mine.get("text_bytes", 0) != parts:
            yield f"tokenizer: {mine.get('text_bytes', 0)} bytes of {name} came in, {parts} are accounted for"


def _check_pack(manifest: Record) -> Iterator[str]:
    cleaned, order = manifest["cleaning"]["sources"], manifest["order"]
    for source in order["sources"]:
        name = source["name"]
        shards = [shard for shard in manifest["shards"] if shard["source"] == name]
        for unit in ("documents", "tokens"):
            found = sum(shard[unit] for shard in shards)
            if found != source[unit]:
                yield f"pack: the shards of {name} hold {found} {unit}, the order says {source[unit]}"
        form = form_of(order)
        if form is Form.TEXT:
            windows = source["windows"] * order["seq_len"] + 1 + source["unused_tokens"]
        else:
            windows = source["windows"] * rows_of(form) * (order["seq_len"] + 1) - source["padding_tokens"]
        if windows != source["tokens"]:
            yield f"pack: {source['tokens']} tokens of {name}, but windows and unused tokens make {windows}"
        train = cleaned.get(name, {}).get("train", {}).get("documents", 0)
        there = source["documents"] + sum(source.get("dropped", {}).values())
        if not is_inherited(source) and train != there:
            yield f"pack: {there} documents of {name}, cleaning gave {train}"


def _check_stages(manifest: Record) -> Iterator[str]:
    stated = {stage["stage"]: stage for stage in manifest["stages"]}
    wanted = {
        "clean": clean_counts(manifest["cleaning"]["total"]),
        "tokenizer": tokenizer_counts(manifest["tokenizer"]["training"], manifest["order"]),
        "pack": pack_counts(manifest["order"]),
    }
    for name, counts in wanted.items():
        for part, value in counts.items():
            if stated[name].get(part) != value:
                yield f"{name}: {part} is {stated[name].get(part)} in the list of stages, its own counts say {value}"


def count_lines(path: Path) -> int:
    """The documents of a shard of documents: its lines."""
    with path.open("rb") as stream:
        return sum(1 for _ in stream)
