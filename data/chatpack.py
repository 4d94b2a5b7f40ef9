"""Stage pack for conversations and pairs: their windows, shards and keys, and what did not fit.

Beside what pack.py writes there is `dropped.jsonl`: key, source and reason of every document that has no window. All
else of the stage is as for text: order.json, and its SHA-256 as the data root.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from core.errors import DataError
from core.hashing import canonical_json
from data.chat import SPECIALS, TEMPLATE, Form
from data.corpus.keys import write_keys
from data.engine import run_tasks
from data.engineconfig import EngineConfig
from data.packconfig import PackConfig
from data.steps.chats import TOO_LONG, EncodeChats, EncodedChats
from data.steps.encode import check_order
from data.tokenizer import Tokenizer, bytes_per_token
from data.wholes import fill_windows, write_wholes

DROPPED = "dropped.jsonl"

Record = dict[str, Any]


def encode_chats(
    files: Mapping[str, list[Path]], config: PackConfig, *, model: Path, work: Path, identity: str, engine: EngineConfig
) -> dict[str, list[EncodedChats]]:
    """The ids of every document shard, a task for each; shards stay in their order."""
    paths = [path.absolute() for listed in files.values() for path in listed]
    step = EncodeChats(
        shards=paths, model=model.absolute(), form=config.form, room=config.seq_len + 1, too_long=config.too_long
    )
    folders = iter(
        run_tasks(step, tasks=len(paths), folder=work / "encode", identity=identity, engine=engine, unit="shards")
    )
    return {source: [EncodedChats.open(next(folders)) for _ in listed] for source, listed in files.items()}


def write_chats(
    aside: Path, source: str, parts: Sequence[EncodedChats], *, tokenizer: Tokenizer, config: PackConfig
) -> Record:
    """Write the shards and keys of one source, and return what order.json says of it.

    Raises DataError if the documents are out of order, or none fits into a window.
    """
    places = [(part, number) for part in parts for number in range(len(part.keys))]
    keys = list(check_order(chain.from_iterable(part.keys for part in parts), where=aside))
    dropped = sorted(key for part in parts for key in part.dropped)
    if not keys:
        raise DataError(
            f"source {source}: none of {len(dropped)} {config.form.value} fits into a window of {config.seq_len + 1} "
            "tokens; raise pack.seq_len, or take it out of pack.weights"
        )
    lengths = [length for part in parts for length in part.lengths]
    is_alone = config.form is Form.PAIRS
    windows = [[at] for at in range(len(keys))] if is_alone else fill_windows(lengths, room=config.seq_len + 1)
    described = write_wholes(
        aside,
        source,
        ([part.whole(number) for part, number in (places[at] for at in window)] for window in windows),
        vocab_size=tokenizer.vocab_size,
        shard_tokens=config.shard_tokens,
        seq_len=config.seq_len,
        form=config.form,
    )
    write_keys(aside, (keys[at] for window in windows for at in window), described["shards"])
    with (aside / DROPPED).open("ab") as stream:
        rows = ({"key": key, "reason": TOO_LONG, "source": source} for key in dropped)
        stream.writelines(canonical_json(row) + b"\n" for row in rows)
    truncated = sum(part.truncated for part in parts)
    return {**described, "dropped": {TOO_LONG: len(dropped)} if dropped else {}, "truncated": truncated}


def chat_record(tokenizer: Tokenizer, config: PackConfig) -> Record:
    """What order.json says of the form of its windows."""
    ids = tokenizer.special_ids
    return {"form": config.form.value, "chat": {"template": TEMPLATE, "ids": {name: ids[name] for name in SPECIALS}}}


def chat_facts(sources: Sequence[Mapping[str, Any]], text_bytes: Mapping[str, int], config: PackConfig) -> Record:
    """The facts of a pack: documents, tokens, windows and targets of every source, its fill, and what did not fit."""
    names = ("documents", "tokens", "windows", "targets", "padding_tokens")
    total = {name: sum(source[name] for source in sources) for name in names}
    dropped = sum(sum(source["dropped"].values()) for source in sources)
    form = config.form.value
    return {
        "came_in": f"{total['documents'] + dropped:,} {form}, {sum(text_bytes.values()) / 1e6:.1f} MB of text",
        "went_out": f"{total['documents']:,} {form} in {total['windows']:,} windows of {config.seq_len}, "
        f"{total['tokens']:,} tokens of which {total['targets']:,} count, {100 * fill_of(total):.1f} % filled; "
        f"dropped {dropped:,}",
        "sources": {
            source["name"]: {
                **{name: source[name] for name in (*names, "dropped", "truncated")},
                "fill": round(fill_of(source), 4),
                "bytes_per_token": bytes_per_token(text_bytes[source["name"]], source["tokens"]),
            }
            for source in sources
        },
    }


def fill_of(source: Mapping[str, int]) -> float:
    """Which part of the windows' room tokens take, padding being the rest."""
    return source["tokens"] / max(source["tokens"] + source["padding_tokens"], 1)
