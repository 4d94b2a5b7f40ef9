"""The checks of a corpus against its manifest: each yields what is wrong, one phrase each, and leaves what it saw.

They read what a stranger may have changed. What keeps a check from going on it raises as DataError.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.codetree import code_hash
from core.errors import DataError
from core.hashing import hash_file, hash_value
from data.corpus.accounts import check_accounts
from data.corpus.card import card
from data.corpus.croissant import croissant
from data.corpus.keys import SUFFIX
from data.corpus.leaves import LEAVES, read_leaves, root_of
from data.corpus.manifest import CARD, CROISSANT, sidecars_of
from data.corpus.places import Corpus
from data.corpus.roots import CORPUS, files_root, shards_root, sources_root, with_corpus
from data.corpus.tombstones import Tombstones, leaf_flaw, read_tombstones, shard_flaws
from data.loader import read_record
from data.order import order_of, vectors
from data.report import HELDOUT, REPORT
from data.sources.fetch import INDEX
from data.tokenizer import canonical
from data.wholes import SUFFIX as LAYOUT

Flaws = Iterator[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a verifier brings: how many leaves to draw (0: all bytes), from which seed, and the root that he expects."""

    sample: int = 0
    seed: int = 0
    root: str = ""


@dataclass(slots=True)
class Seen:
    """What a check says if nothing is wrong; a part that is not here is said to be so."""

    text: str = ""


Check = Callable[[Corpus, Asked, Seen], Flaws]


def manifest(corpus: Corpus, asked: Asked, seen: Seen) -> Flaws:
    """The manifest's roots follow from what it lists, and its recipe has the hash that it says."""
    said = corpus.manifest
    parts = {
        "sources": sources_root(said["sources"]),
        "documents": files_root(said["documents"]["files"]),
        "tokenizer": said["tokenizer"]["sha256"],
        "shards": shards_root(sidecars_of(said)),
        "order": said["order"]["sha256"],
    }
    for name, root in with_corpus(parts).items():
        if said["roots"].get(name) != root:
            yield f"root {name} is {said['roots'].get(name)}, but {root} follows from what the manifest lists"
    if hash_value(said["recipe"]["sections"]) != said["recipe"]["sha256"]:
        yield "the manifest's recipe does not have the hash that the manifest says"
    if asked.root not in ("", said["roots"][CORPUS]):
        yield f"the corpus's root is {said['roots'][CORPUS]}, you expect {asked.root}"
    seen.text = f"{len(said['sources'])} sources, {len(said['shards'])} shards, root {said['roots'][CORPUS]}"


def conservation(corpus: Corpus, asked: Asked, seen: Seen) -> Flaws:
    """In = out + drops, everywhere; and report.json, if it is here, says the same."""
    yield from check_accounts(corpus.manifest)
    if corpus.cleaned is not None:
        yield from _same_json(corpus.cleaned / REPORT, corpus.manifest["cleaning"])
    total = corpus.manifest["cleaning"]["total"]
    seen.text = f"{total['in']['documents']} documents came in, each went to training, held out or was dropped"


def evidence(corpus: Corpus, asked: Asked, seen: Seen) -> Flaws:
    """The files of evidence for licences have their hashes."""
    listed = [(source, entry) for source in corpus.manifest["sources"] for entry in source["evidence"]]
    if corpus.fetched is None:
        seen.text = f"not here: evidence/, {len(listed)} files" if listed else "no source has evidence"
        return
    for source, entry in listed:
        yield from _same_file(corpus.fetched / entry["path"], entry, what=f"evidence of {source['name']}")
    if (corpus.fetched / INDEX).is_file():
        yield from _strange_sources(corpus.fetched / INDEX, corpus.manifest["sources"])
    seen.text = f"{len(listed)} files have their hashes"


def documents(corpus: Corpus, asked: Asked, seen: Seen) -> Flaws:
    """The cleaned documents that are here have their hashes; those to train on are not in a bundle."""
    listed = corpus.manifest["documents"]["files"]
    place = corpus.cleaned
    here = [entry for entry in listed if place and (place / entry["path"].partition("/")[0]).is_dir()]
    for entry in here:
        assert place is not None
        yield from _same_file(place / entry["path"], entry, what="documents")
    held = sum(entry["path"].startswith(f"{HELDOUT}/") for entry in here)
    seen.text = f"{held} held-out files and {len(here) - held} to train on have their hashes, {len(listed)} are listed"


def tokenizer(corpus: Corpus, asked: Asked, seen: Seen) -> Flaws:
    """The model has its hash, and is in the form in which models are hashed."""
    wanted = corpus.manifest["tokenizer"]
    if corpus.manifest["order"]["tokenizer_sha256"] != wanted["sha256"]:
        yield "the order was made with another tokenizer than the manifest names"
    if corpus.tokenizer is None:
        seen.text = "not here: tokenizer.model"
        return
    wrong = list(_same_file(corpus.tokenizer, wanted, what="tokenizer"))
    yield from wrong
    if not wrong and canonical(corpus.tokenizer.read_bytes()) != corpus.tokenizer.read_bytes():
        yield f"{corpus.tokenizer} is not in canonical form; train the tokenizer with this code"
    seen.text = f"the canonical model, {wanted['sha256']}"


def order(corpus: Corpus, asked: Asked, seen: Seen) -> Flaws:
    """order.json is the data root, lists the manifest's shards, and this code gives the order that it describes."""
    pack = _pack(corpus)
    record, data_root = read_record(pack)
    said = corpus.manifest["order"]
    if data_root != said["sha256"]:
        yield f"order.json has SHA-256 {data_root}, the manifest says {said['sha256']}"
    listed = [sidecar for source in record["sources"] for sidecar in source.pop("shards")]
    if listed != sidecars_of(corpus.manifest):
        yield "order.json lists other shards than the manifest"
    if {**record, "sha256": data_root} != said:
        yield "order.json says other weights, windows or test vectors than the manifest"
    if vectors(order_of(record)) != record["vectors"]:
        yield "this code gives another order than order.json was made with: its test vectors differ"
    seen.text = f"data root {data_root}, {len(record['vectors']['samples'])} test vectors computed again"


def shards(corpus: Corpus, asked: Asked, seen: Seen) -> Flaws:
    """Sidecars, ends and keys of every shard have their hashes, and its tokens their leaves: all, or a sample."""
    pack = _pack(corpus)
    stones = read_tombstones(pack, data_root=corpus.manifest["order"]["sha256"])
    for shard, sidecar in zip(corpus.manifest["shards"], sidecars_of(corpus.manifest), strict=True):
        name = shard["name"]
        yield from _same_json(pack / f"{name}.json", sidecar)
        yield from _same_file(pack / f"{name}.idx", shard["idx"], what="ends of documents")
        yield from _same_file(pack / f"{name}{SUFFIX}", shard["keys"], what="document keys")
        if "mask" in shard:
            yield from _same_file(pack / f"{name}.mask", shard["mask"], what="targets that count")
        if not (pack / f"{name}.bin").is_file():
            yield f"tokens: {pack / name}.bin is missing"
        elif not asked.sample and stones.documents_of(name):
            yield from shard_flaws(pack, sidecar, stones)
        elif not asked.sample:
            yield from _same_file(pack / f"{name}.bin", shard["bin"], what="tokens")
    for source in corpus.manifest["order"]["sources"]:
        if "layout" in source:
            yield from _same_file(pack / f"{source['name']}{LAYOUT}", source["layout"], what="ends of windows")
    size = sum(shard["bin"]["bytes"] for shard in corpus.manifest["shards"])
    seen.text = f"all {size} bytes of {len(corpus.manifest['shards'])} shards"
    if asked.sample:
        yield from sample(corpus, pack, asked, stones, seen)
    if stones.documents:
        seen.text += f"; {len(stones.leaves)} leaves redacted for {len(stones.documents)} documents"


def sample(corpus: Corpus, pack: Path, asked: Asked, stones: Tombstones, seen: Seen) -> Flaws:
    """Draw leaves, each once, and hold each against the stored hashes, which must give the shards' roots."""
    stored = read_leaves(corpus.about / LEAVES)
    for shard in corpus.manifest["shards"]:
        if root_of(stored.get(shard["name"], [])) != shard["bin"]["merkle_root"]:
            yield f"{LEAVES} does not give the Merkle root of shard {shard['name']}; get it again"
            return
    places = [(shard["name"], at) for shard in corpus.manifest["shards"] for at in range(len(stored[shard["name"]]))]
    drawn = sorted(random.Random(asked.seed).sample(places, min(asked.sample, len(places))))
    for name, number in drawn:
        if (pack / f"{name}.bin").is_file() and (wrong := leaf_flaw(pack, name, number, stored[name][number], stones)):
            yield wrong
    seen.text = f"{len(drawn)} of {len(places)} leaves, drawn with seed {asked.seed}, have their hashes"


def derived(corpus: Corpus, asked: Asked, seen: Seen) -> Flaws:
    """Card and Croissant file are what this code makes of the manifest, if it is the code that made them."""
    if corpus.manifest["code"]["sha256"] != code_hash("data"):
        seen.text = "not looked at: made by other code than this"
        return
    made = {CARD: card(corpus.manifest).encode(), CROISSANT: croissant(corpus.manifest)}
    for name, content in made.items():
        path = corpus.about / name
        if path.is_file() and path.read_bytes() != content:
            yield f"{path} is not what the manifest makes; get it again"
    seen.text = "card and Croissant file follow from the manifest"


CHECKS: tuple[Check, ...] = (manifest, conservation, evidence, documents, tokenizer, order, shards, derived)


def _pack(corpus: Corpus) -> Path:
    if corpus.pack is None:
        raise DataError(f"no order.json with shards beside {corpus.about}; get them, or remake stage pack")
    return corpus.pack


def _strange_sources(index: Path, said: Sequence[Mapping[str, Any]]) -> Flaws:
    """Which sources of sources.json the manifest tells otherwise."""
    records = {record["name"]: record for record in json.loads(index.read_bytes())}
    if list(records) != [source["name"] for source in said]:
        yield f"{index} lists other sources than the manifest"
        return
    for source in said:
        mine = records[source["name"]]
        other = [name for name in ("kind", "sha256", "license", "evidence") if mine.get(name) != source[name]]
        if other:
            yield f"{index} says another {other[0]} of source {source['name']} than the manifest"


def _same_json(path: Path, wanted: Any) -> Flaws:
    try:
        is_same = json.loads(path.read_bytes()) == wanted
    except (OSError, ValueError) as error:
        yield f"{path} is missing or damaged: {error}"
        return
    if not is_same:
        yield f"{path} is not what the manifest says"


def _same_file(path: Path, entry: Any, *, what: str) -> Flaws:
    if not path.is_file():
        yield f"{what}: {path} is missing"
    elif path.stat().st_size != entry["bytes"]:
        yield f"{what}: {path} has {path.stat().st_size} bytes, the manifest says {entry['bytes']}"
    elif (found := hash_file(path)) != entry["sha256"]:
        yield f"{what}: {path} has SHA-256 {found}, the manifest says {entry['sha256']}"
