"""Stage manifest: everything that is to be known of a corpus, in one file for machines and one for people.

Reads the artifacts of fetch, clean, tokenizer and pack. Writes
    manifest.json   recipe, code, versions, sources with licences and evidence, what every stage took and gave, files,
                    shards, order, roots; enough to rebuild the corpus with nothing but the code
    leaves.jsonl    the Merkle leaves of every shard (leaves.py)
    CARD.md         the data card (card.py)
    croissant.json  the same for catalogues (croissant.py)

The stage refuses a corpus whose numbers do not agree (accounts.py). Nothing in it depends on time, host, path or number
of workers: when the sources were fetched is in the witness of artifact fetch.
"""

import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from core.artifact import Artifact, Facts, build, current, plan
from core.cli import recipe_and_overrides
from core.codetree import code_files, code_hash
from core.config import RunConfig, load, resolve
from core.errors import DataError, DeterministicError
from core.hashing import canonical_json, hash_file, hash_value, sha256_hex
from data.chat import Form, document_text
from data.corpus.accounts import check_accounts, count_lines, stage_accounts
from data.corpus.card import card
from data.corpus.croissant import croissant
from data.corpus.environment import environment
from data.corpus.keys import SUFFIX, read_keys
from data.corpus.leaves import LEAVES, write_leaves
from data.corpus.origins import describe_sources, patterns
from data.corpus.roots import CORPUS, files_root, shards_root, sources_root, with_corpus
from data.corpus.sections import sections_of
from data.documents import key_of
from data.loader import form_of, read_record
from data.report import DROPPED, HELDOUT, REPORT, TRAIN
from data.shards import Sidecar, TokenStream, document_ends
from data.sources.config import SourcesConfig
from data.tokenizer import MODEL, Tokenizer

STAGE = "manifest"
INPUTS = ("fetch", "clean", "tokenizer", "pack")
FORMAT = "wholegrain-manifest-1"
MANIFEST, CARD, CROISSANT = "manifest.json", "CARD.md", "croissant.json"
TRAINING = "training.json"
TAKEN_DOWN = "taken_down"

Record = dict[str, Any]


def main(arguments: list[str]) -> None:
    """Verb `manifest`: make the artifact of stage manifest and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m data manifest")
    run = load(recipe, "run", RunConfig, overrides)
    sources = load(recipe, "sources", SourcesConfig, overrides)
    inputs = {stage: current(run.inputs_folder, stage) for stage in INPUTS}
    check_chain(inputs)
    listed = read_taken_down(resolve(recipe, overrides)["clean"], inputs["clean"])
    decided = {"name": run.name, "patterns": patterns(sources.items), "environment": environment()}
    wanted = plan(STAGE, folder="data", out=run.out_folder, config=decided, inputs=inputs)
    artifact = build(wanted, partial(write, inputs=inputs, decided={**decided, "taken_down": listed}))
    sys.stdout.write(f"{artifact.folder}\n")


def check_chain(inputs: Mapping[str, Artifact]) -> None:
    """Raise DataError if an artifact was not made from the others: one of them was made again since."""
    for stage, artifact in inputs.items():
        for name, digest in artifact.record["inputs"].items():
            if name in inputs and inputs[name].digest != digest:
                raise DataError(
                    f"{artifact.folder} was not made from {inputs[name].folder}; run stage {stage} again, then this one"
                )


def write(aside: Path, *, inputs: Mapping[str, Artifact], decided: Facts) -> Facts:
    """Fill the artifact's folder and return its facts. Raises DeterministicError if the numbers do not agree."""
    # What is made of the manifest must be what anybody makes of the file: its names stand in the file's order.
    manifest: Record = json.loads(canonical_json(describe(inputs, decided=decided)))
    wrong = next(check_accounts(manifest), "")
    if wrong:
        raise DeterministicError(f"{wrong}; a document or a byte was lost, which is a bug: report it")
    pack = inputs["pack"].folder
    opened = Tokenizer.open(inputs["tokenizer"].folder)
    check_keys(pack, sidecars_of(manifest), opened, form=form_of(manifest["order"]))
    shards = [(car, pack / f"{car['name']}.bin") for car in sidecars_of(manifest)]
    write_leaves(aside / LEAVES, shards)
    (aside / MANIFEST).write_bytes(canonical_json({**manifest, "seal": hash_value(manifest)}))
    (aside / CARD).write_text(card(manifest), encoding="utf-8")
    (aside / CROISSANT).write_bytes(croissant(manifest))
    total = manifest["cleaning"]["total"]
    return {
        "came_in": f"{len(manifest['sources'])} sources, {total['in']['documents']} documents",
        "went_out": f"{len(shards)} shards and what is to be known of them",
        "corpus_root": manifest["roots"][CORPUS],
        "recipe_sha256": manifest["recipe"]["sha256"],
    }


def describe(inputs: Mapping[str, Artifact], *, decided: Facts) -> Record:
    """The manifest, without its seal."""
    fetched, cleaned, tokenizer, pack = (inputs[stage].folder for stage in INPUTS)
    cleaning = json.loads((cleaned / REPORT).read_bytes())
    training = json.loads((tokenizer / TRAINING).read_bytes())
    order, data_root = read_record(pack)
    sources = describe_sources(fetched, decided["patterns"])
    sidecars = [sidecar for source in order["sources"] for sidecar in source.pop("shards")]
    documents = describe_documents(inputs["clean"])
    sections = sections_of({stage: artifact.record["config"] for stage, artifact in inputs.items()})
    parts = {
        "sources": sources_root(sources),
        "documents": files_root(documents["files"]),
        "tokenizer": hash_file(tokenizer / MODEL),
        "shards": shards_root(sidecars),
        "order": data_root,
    }
    return {
        "format": FORMAT,
        "name": decided["name"],
        "roots": with_corpus(parts),
        "recipe": {"sha256": hash_value(sections), "sections": sections},
        "code": {"sha256": code_hash("data"), "files": code_files("data")},
        "environment": decided["environment"],
        "sources": sources,
        "stages": stage_accounts(inputs, cleaning=cleaning, training=training, order=order),
        "cleaning": cleaning,
        "documents": documents,
        "tokenizer": {
            "sha256": parts["tokenizer"],
            "bytes": (tokenizer / MODEL).stat().st_size,
            "training": training,
        },
        "shards": [{**sidecar, "keys": _sealed(pack / f"{sidecar['name']}{SUFFIX}")} for sidecar in sidecars],
        "order": {**order, "sha256": data_root},
        "benchmarks": describe_benchmarks(sections["clean"], cleaning),
        "tombstones": tombstones(decided["taken_down"], cleaned / DROPPED),
    }


def describe_documents(cleaned: Artifact) -> Record:
    """The files of cleaned documents, and the list of the dropped by hash."""
    listed = {entry["path"]: entry for entry in cleaned.record["files"]}
    kept = [path for path in sorted(listed) if path.startswith((f"{TRAIN}/", f"{HELDOUT}/"))]
    return {
        "files": [{**listed[path], "documents": count_lines(cleaned.folder / path)} for path in kept],
        "dropped": listed[DROPPED],
    }


def describe_benchmarks(clean: Record, cleaning: Record) -> list[Record]:
    """The evaluation sets that were looked for, by hash, with what was found."""
    return [
        {"name": one["name"], "sha256": one["sha256"], "found": cleaning["benchmarks"].get(one["name"], {})}
        for one in clean.get("decontamination", {}).get("benchmarks", [])
    ]


def read_taken_down(clean: Mapping[str, Any], cleaned: Artifact) -> str:
    """The list of documents that the recipe's section clean takes out of the corpus, word for word; empty without one.

    Raises DataError if it is not the one that artifact clean was made with.
    """
    sha256 = cleaned.record["config"].get(TAKEN_DOWN, {}).get("sha256", "")
    if not sha256:
        return ""
    path = Path(clean[TAKEN_DOWN]["path"])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"clean.taken_down: {path} cannot be read: {error.strerror}; correct its path") from error
    if sha256_hex(content) != sha256:
        raise DataError(f"clean.taken_down: {path} is not what {cleaned.folder} was made with; run stage clean again")
    return content.decode()


def tombstones(listed: str, dropped: Path) -> Record:
    """The documents that someone asked to take out, each with the source from which it was dropped, if it was there."""
    rows = (json.loads(line) for line in dropped.read_bytes().splitlines())
    found = {row["key"]: row["source"] for row in rows if row["reason"] == TAKEN_DOWN}
    documents = [json.loads(line) for line in listed.splitlines()]
    return {"list": listed, "documents": [{**one, "source": found.get(one["key"], "")} for one in documents]}


def check_keys(pack: Path, sidecars: list[Sidecar], tokenizer: Tokenizer, *, form: Form = Form.TEXT) -> None:
    """Hold keys against text: the first, a middle and the last document of every shard, decoded again.

    A conversation that was truncated, which has no eos, is not what its key says, and is left out. Raises DataError
    naming the document whose key is not that of its text.
    """
    for sidecar in sidecars:
        keys, ends = read_keys(pack, sidecar), [0, *map(int, document_ends(pack, sidecar))]
        stream = TokenStream(pack, [sidecar])
        for number in sorted({0, len(keys) // 2, len(keys) - 1}):
            tokens = stream.read(ends[number], ends[number + 1] - ends[number])
            if form is not Form.TEXT and tokens[-1] != tokenizer.eos_id:
                continue
            if key_of(document_text(tokens.tolist(), tokenizer, form)) != keys[number]:
                raise DataError(
                    f"document {number} of shard {pack / sidecar['name']} does not have the key {keys[number]}, as its "
                    "file of keys says; run stage pack again"
                )


def sidecars_of(manifest: Mapping[str, Any]) -> list[Sidecar]:
    """The sidecars of a manifest's shards, as order.json lists them."""
    return [{name: value for name, value in shard.items() if name != "keys"} for shard in manifest["shards"]]


def read_manifest(path: Path) -> Record:
    """A manifest without its seal. Raises DataError if it is not there, of another format, or damaged."""
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"no readable manifest {path}: {error}; get it again, or run stage manifest") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path} is not a {FORMAT}; give the {MANIFEST} of a corpus")
    if manifest.pop("seal", None) != hash_value(manifest):
        raise DataError(f"{path} is damaged: its content does not have the hash that it names; get it again")
    return manifest


def _sealed(path: Path) -> Record:
    return {"bytes": path.stat().st_size, "sha256": hash_file(path)}
