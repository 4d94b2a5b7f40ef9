"""The checks of a bundle that need no training: is it whole, and do its parts tell one story.

Each takes a bundle, returns what it saw in one phrase, and raises DataError naming the first thing that is wrong, or
InconclusiveError if it cannot be judged here. What each cannot catch is said in verify.py.
"""

from collections.abc import Mapping
from typing import Any

from core.codetree import ROOT
from core.config import identity_names
from core.errors import DataError, DeterministicError
from core.hashing import canonical_json, hash_file, hash_value, sha256_hex
from core.ledger import Line, full_head, takes_weights, trajectory_head
from core.progress import Progress
from core.stages import read_stages
from release.code import clone, is_checkout_of, read_tree, stage_code_hash
from release.config import ReleaseConfig
from release.contents import MERGE, QUANTIZE, TRAIN, Bundle, read_whole
from release.derived import redone
from release.evaluations import check_evaluations
from release.layout import FORMAT, shipped
from release.lineage import CHECKPOINT, LINEAGE, inherited_sources, merged_weights, read_lineage
from release.manifest import first_flaw, read_manifest
from release.recipe import TRAIN_SECTIONS, neutral_recipe
from release.stage import ask, first_value, run_verb
from release.verdict import ByReferenceError, InconclusiveError
from release.weights import contents, state_root

WEIGHTS = "model.safetensors"
TENSORS = (WEIGHTS, "optimizer.safetensors")
REFERENCE = "logs/reference.bin"
PUBLISHED = "weights/final/model.safetensors"


def integrity(bundle: Bundle) -> str:
    """Every file is what the manifest says, none is missing, none added; the witness likewise by its own manifest."""
    count = len(read_manifest(bundle.folder))
    expect("the root", bundle.root, bundle.expected_root or bundle.root)
    flaw = first_flaw(bundle.folder, progress=Progress("hash", total=count, unit="files"), absent=bundle.absent)
    flaw = flaw or first_flaw(bundle.witness)
    if flaw:
        raise DataError(flaw)
    bundle.is_whole = True
    if bundle.absent:
        size = sum(entry.bytes for entry in bundle.absent.values())
        raise ByReferenceError(
            f"{count - len(bundle.absent)} files are what the manifest says, root {bundle.root}; {len(bundle.absent)} "
            f"files, {size} bytes, are by reference and not here: --mirror SOURCE fetches them"
        )
    return f"{count} files are what the manifest says, root {bundle.root}"


def code(bundle: Bundle) -> str:
    """The git bundle holds the files that tree.json lists, and every stage's code hash is that of these files."""
    folder = bundle.folder / "code"
    tree, unpacked = read_tree(folder), bundle.scratch / "code"
    clone(folder, unpacked)
    expect("the format in bundle.json", bundle.record["format"], FORMAT)
    expect("the code tree in bundle.json", bundle.record["code_tree"], tree["tree"])
    graph = read_stages(
        unpacked / "conf" / "stages.yaml",
        sections=[name for name, section in bundle.recipe.items() if section is not None],
    )
    expect("config/stages.yaml", read_whole(bundle), {stage.name: stage.plain() for stage in graph})
    for stage, artifact in bundle.artifacts.items():
        expect(f"the code of stage {stage}", artifact["code"], stage_code_hash(tree, bundle.stages[stage]["folder"]))
    bundle.code = ROOT if is_checkout_of(ROOT, tree) else unpacked
    return f"tree {tree['tree']}, {len(tree['files'])} files, is what all {len(bundle.artifacts)} stages ran"


def chain(bundle: Bundle) -> str:
    """Artifacts name their inputs by digest, keys follow from what they name, and shipped files are the artifacts'."""
    files = 0
    for stage, artifact in bundle.artifacts.items():
        wanted = {name: bundle.digests[name] for name in bundle.stages[stage]["inputs"]}
        expect(f"the inputs of stage {stage}", artifact["inputs"], wanted)
        expect(f"the key of stage {stage}", artifact["key"], _key(artifact))
        files += _check_files(bundle, stage, artifact["files"])
    expect("the artifacts in bundle.json", bundle.record["artifacts"], bundle.digests)
    _check_recipe(bundle)
    return f"{len(bundle.artifacts)} artifacts follow from each other by digest, {files} of their files are here"


def ledger(bundle: Bundle) -> str:
    """The ledger's chain is unbroken; its heads and its first line say what the rest of the bundle says."""
    lines, facts = bundle.ledger, bundle.artifacts["train"]["facts"]
    heads = {"trajectory_head": trajectory_head(lines[1:]), "full_head": full_head(lines)}
    for place, said in {"bundle.json": bundle.record, "artifact train": facts}.items():
        for name, head in heads.items():
            expect(f"{name} in {place}", said[name], head)
        expect(f"steps in {place}", said["steps"], len(lines) - 1)
    first, trained = lines[0], bundle.trained
    config = hash_value({"model": trained["model"], "train": trained["train"]})
    expect("the configuration in the first line", first["config"], config)
    expect("the objective in the first line", first.get("objective"), trained["train"].get("objective"))
    reference = bundle.folder / REFERENCE
    found = hash_file(reference) if reference.is_file() else None
    expect("the reference of preferences in the first line", first.get("reference"), found)
    expect("the data root in the first line", first["data"], hash_file(bundle.pack / "order.json"))
    expect("the code in the first line", first["code"], bundle.artifacts["train"]["code"])
    profile = bundle.read_json("env/profile.json")
    expect("the profile of the training", bundle.trained["profile"], profile)
    expect("the profile in the first line", first["profile"], hash_value(profile))
    return f"{len(lines) - 1} steps in one chain, trajectory head {heads['trajectory_head']}"


def data(bundle: Bundle) -> str:
    """The digest of every step's token ids, computed again from the shipped shards, is the ledger's.

    Evaluations, if there are any, are of the held-out tokens that are shipped.
    """
    train, steps = bundle.trained["train"], bundle.ledger[1:]
    # Further on where the spike policy skipped data.
    taken: list[int] = [line.get("data_step") or line["step"] for line in steps]
    shape = ["--micro-batches", train["micro_batches"], "--micro-batch", train["micro_batch"]]
    answer = ask(
        bundle.runnable_code(),
        "data",
        "digests",
        bundle.recipe_path,
        "--pack",
        bundle.pack,
        "--steps",
        max(taken),
        *shape,
    ).split()
    expect("the number of batch digests", len(answer), max(taken))
    for line, data_step in zip(steps, taken, strict=True):
        expect(f"the batch digest of step {line['step']}", line["batch"], answer[data_step - 1])
    evaluated = check_evaluations(bundle)
    said = f"the token ids of all {len(steps)} steps follow from the shards and the data order"
    return f"{said}; {evaluated}" if evaluated else said


def corpus(bundle: Bundle) -> str:
    """The corpus is what its manifest says: its counts agree, and shards, order, tokenizer and evidence are the same.

    The manifest is of the bundle's own artifacts.
    """
    manifest = bundle.read_json("data/manifest.json")
    stages = {stage["stage"]: stage["digest"] for stage in manifest["stages"]}
    expect("the chain of artifacts in data/manifest.json", stages, {stage: bundle.digests[stage] for stage in stages})
    ended = run_verb(bundle.runnable_code(), "data", "verify", bundle.folder / "data")
    wrong = [line.removeprefix("FAIL ") for line in ended.output.splitlines() if line.startswith("FAIL")]
    if ended.exit_code in (DeterministicError.exit_code, DataError.exit_code):
        raise DataError(wrong[0] if wrong else f"python -m data verify: {ended.message}")
    if ended.exit_code:
        raise InconclusiveError(f"python -m data verify: {ended.message}")
    root = manifest["roots"]["corpus"]
    return (
        f"{len(manifest['sources'])} sources and {len(manifest['shards'])} shards are as the manifest says, root {root}"
    )


def checkpoints(bundle: Bundle) -> str:
    """Checkpoints have the hashes that they state, and their heads and state roots stand in the ledger."""
    identity = hash_value({"config": bundle.trained, "data": bundle.ledger[0]["data"]})
    last_step = bundle.first_step + len(bundle.ledger) - 1
    for step, folder in bundle.checkpoints.items():
        name = f"checkpoints/{folder.name}"
        manifest, state = bundle.read_json(f"{name}/manifest.json"), bundle.read_json(f"{name}/state.json")
        for entry in manifest["files"]:
            expect(f"the hash of {name}/{entry['path']}", entry["sha256"], hash_file(folder / entry["path"]))
        for place, said in {"manifest.json": manifest, "state.json": state}.items():
            expect(f"the step in {name}/{place}", said["step"], step)
            expect(f"the ledger head in {name}/{place}", said["ledger_head"], _hash(bundle.line(step)))
            expect(f"the state root in {name}/{place}", said["state_root"], bundle.line(step)["state"])
            expect(f"the run's identity in {name}/{place}", said["identity"], identity)
        root = state_root(folder / file for file in TENSORS)
        expect(f"the state root of the tensors in {name}", root, bundle.line(step)["state"])
    if not bundle.checkpoints or max(bundle.checkpoints) != last_step:
        raise DataError(f"the checkpoint of the last step {last_step} is not in the bundle")
    return (
        f"steps {', '.join(map(str, bundle.checkpoints))} stand in the ledger; their tensors give the state roots there"
    )


def weights(bundle: Bundle) -> str:
    """The published weights are those of the last checkpoint, or of the model that was merged or quantized: the same
    tensors, whatever their names."""
    facts = bundle.artifacts[bundle.maker]["facts"]
    expect("the last weights in bundle.json", bundle.record["weights_sha256"], facts["weights_sha256"])
    if bundle.is_trained:
        last = bundle.checkpoints[max(bundle.checkpoints)] / WEIGHTS
        trained = bundle.artifacts["train"]["facts"]
        expect("the last weights in artifact train", trained["weights_sha256"], hash_file(last))
        expect("the last state root in artifact train", trained["state_root"], bundle.ledger[-1]["state"])
    if bundle.maker != TRAIN:
        last = redone(bundle, bundle.maker)
    what = {TRAIN: "the last checkpoint", MERGE: "the merged model", QUANTIZE: "the quantized model"}[bundle.maker]
    model = bundle.trained["model"]
    # Stage export divides the head of a model that is wider than the one whose rates it takes over.
    divisors = {"head.weight": model["dim"] / model["base_dim"]} if model.get("base_dim") else {}
    ours, published = contents(last, divisors=divisors), contents(bundle.folder / PUBLISHED)
    strange = sum((published - ours).values())
    if strange or not published:
        raise DataError(f"{strange} of {sum(published.values())} tensors of {PUBLISHED} are not in {what}")
    return f"all {sum(published.values())} published tensors are those of {what}"


def lineage(bundle: Bundle) -> str:
    """What lineage.json says follows from the parents' files; the state gone on from is what the parent's ledger names.

    Raises InconclusiveError if the parent's checkpoint is neither in the bundle nor given.
    """
    said, first = bundle.read_json(LINEAGE), bundle.ledger[0] if bundle.is_trained else {}
    follows = read_lineage(
        bundle.folder,
        stages=list(bundle.stages),
        merged=merged_weights(bundle.artifacts[MERGE]["config"]) if MERGE in bundle.stages else [],
        roots=[parent["root"] for parent in bundle.record["parents"]],
        first=first,
        base_sha256=str(bundle.artifacts["pack"]["config"].get("base", {}).get("sha256", "")),
        start_license=bundle.record["start_license"],
        is_start_shipped=bundle.record["is_start_shipped"],
    )
    difference = first_value(said, follows)
    if difference:
        raise DataError(f"{LINEAGE} is not what the parents' files and the ledger say: {difference}")
    names = ", ".join(parent["root"][:12] for parent in said["parents"]) or "none"
    told = f"parents: {names}; {len(inherited_sources(said))} sources of theirs with licences"
    told = f"{' and '.join(said['kinds'])}; {told}"
    if not first.get("parent"):
        return f"begins with initial weights; {told}" if bundle.is_trained else told
    return f"{_check_start(bundle, first['parent'])}; {told}"


def _check_start(bundle: Bundle, parent: Mapping[str, Any]) -> str:
    if "state_root" not in parent:
        return _check_taken(bundle, parent["weights_sha256"])
    root = parent["state_root"]
    expect("the state root in train.start", bundle.trained["train"]["start"]["state_root"], root)
    if not (bundle.start / CHECKPOINT[0]).is_file():
        raise InconclusiveError(
            f"the checkpoint of step {parent['step']} with state root {root} is not in the bundle; give "
            "the parent's with --parent FOLDER"
        )
    expect("the state root of the parent's tensors", state_root(bundle.start / file for file in TENSORS), root)
    how = "takes the weights of" if takes_weights(bundle.ledger[0]) else "goes on from"
    weights = parent.get("weights_sha256")
    if weights:
        expect("the SHA-256 of the parent's weights", hash_file(bundle.start / WEIGHTS), weights)
    return f"{how} step {parent['step']}, whose tensors have the state root that the parent's ledger names"


def _check_taken(bundle: Bundle, sha256: str) -> str:
    """Weights that are named by their SHA-256 alone are those of the recipe, and the ones that are here."""
    expect("the weights in train.start", bundle.trained["train"]["start"].get("weights_sha256"), sha256)
    if not (bundle.start / WEIGHTS).is_file():
        raise InconclusiveError(
            f"the weights with SHA-256 {sha256} are not in the bundle; give a folder with them by --parent FOLDER"
        )
    expect("the SHA-256 of the parent's weights", hash_file(bundle.start / WEIGHTS), sha256)
    return f"begins with weights of SHA-256 {sha256}, which are here"


def expect(what: str, found: Any, wanted: Any) -> None:
    """Raise DataError if a value is not what the rest of the bundle says it must be."""
    if found != wanted:
        raise DataError(f"{what} is {found}, but {wanted} follows from the rest of the bundle")


def _check_recipe(bundle: Bundle) -> None:
    """The stated recipe holds what the artifacts were made with, and nothing else."""
    stated, trained = bundle.recipe, bundle.trained
    identities = {**trained, "profile": trained["profile"]["asked"]}
    made_with = neutral_recipe(
        stated,
        name=bundle.record["name"],
        configs={stage: artifact["config"] for stage, artifact in bundle.artifacts.items()},
        trained={section: identities[section] for section in TRAIN_SECTIONS if section in identities},
        release={name: bundle.record[name] for name in identity_names(ReleaseConfig) if name in bundle.record},
    )
    difference = first_value(stated, made_with)
    if difference:
        raise DataError(f"config/recipe.yaml is not what the stages ran with: {difference}")


def _key(artifact: Mapping[str, Any]) -> str:
    return hash_value({name: artifact[name] for name in ("stage", "code", "config", "inputs")})


def _check_files(bundle: Bundle, stage: str, files: list[dict[str, Any]]) -> int:
    """Hold a stage's shipped files against its artifact.json; returns how many there are."""
    listed = {entry["path"]: entry["sha256"] for entry in files}
    places = shipped(stage, listed, every=bundle.record["checkpoint_every_steps"])
    by_reference = bundle.absent
    for path, place in places.items():
        if place in by_reference:
            expect(f"the hash of {place} in the manifest", by_reference[place].sha256, listed[path])
            continue
        if not (bundle.folder / place).is_file():
            raise DataError(f"{place} is missing, which stage {stage} made")
        expect(f"the hash of {place}", hash_file(bundle.folder / place), listed[path])
    return len(places)


def _hash(line: Line) -> str:
    return sha256_hex(canonical_json(line))
