"""What a bundle holds of every part by which openness is judged, and what proves it.

A part counts if its files are there and hold together here: the code's hash is the one that the stages ran with, the
weights have the shapes that their configuration says, checkpoints stand in the ledger. What takes longer, such as the
tensors' own hashes and the replay, is for `release verify`. A card without its author's words is not counted.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from core.errors import DataError
from release.code import read_tree, stage_code_hash
from release.contents import MAKERS, Bundle
from release.cost import COST
from release.layout import CODE_LICENSE
from release.lineage import LINEAGE
from release.openness.components import BY_KEY, MISSING, Found, Status
from release.openness.words import CARD_SECTIONS, REPORT_SECTIONS, Words
from release.shapes import first_strange_shape, read_config, say

# The folder of the code whose stages stand for a part.
FOLDERS = {
    "preprocessing_code": ("data",),
    "training_code": ("train", "posttrain"),
    "inference_code": ("inference",),
    "evaluation_code": ("evaluation",),
}
WEIGHTS = "weights/final"
# Where the parts lie that a thin bundle has by digest.
LIES_IN = {
    "final": f"{WEIGHTS}/",
    "intermediate": "checkpoints/",
    "optimizer": "checkpoints/",
    "datasets": "data/pack/",
}
UNREADABLE = (DataError, OSError, KeyError, TypeError, ValueError, AttributeError, IndexError)


def in_bundle(bundle: Bundle, words: Words) -> dict[str, Found]:
    """Every part, in the order of the table."""
    found = {key: _guard(look, bundle) for key, look in LOOKS.items()}
    found |= {key: _guard(lambda b, key=key: _code(b, key), bundle) for key in FOLDERS}  # type: ignore[misc]
    found |= {"model_card": _card(bundle, words), "report": _report(bundle, words), "paper": _paper(bundle, words)}
    found |= {key: part for key in LIES_IN if (part := _referenced(bundle, key))}
    return {key: found.get(key, MISSING) for key in BY_KEY}


def _referenced(bundle: Bundle, key: str) -> Found | None:
    """A part that is here by digest only: it counts if its bytes were seen at a mirror. None if it is here."""
    lacking = [entry for entry in bundle.absent.values() if entry.path.startswith(LIES_IN[key])]
    if not lacking:
        return None
    is_seen = all(entry.path in bundle.seen for entry in lacking)
    said = f"{len(lacking)} files by digest"
    return Found(
        status=Status.BY_REFERENCE if is_seen else Status.MISSING,
        paths=tuple(entry.path for entry in lacking),
        bytes=sum(entry.bytes for entry in lacking),
        licence=" AND ".join(sorted({entry.license for entry in lacking})),
        proof=f"{said}; the bytes at a mirror have them" if is_seen else "",
        note="" if is_seen else f"{said}, which nobody looked for: --mirror SOURCE does",
    )


def _guard(look: Callable[[Bundle], Found], bundle: Bundle) -> Found:
    """What a look finds; a part that is there and cannot be read is broken."""
    try:
        return look(bundle)
    except UNREADABLE as error:
        said = str(error).replace(f"{bundle.folder}/", "")
        return Found(status=Status.BROKEN, note=f"{type(error).__name__}: {said}")


def _code(bundle: Bundle, key: str) -> Found:
    stages = [stage for stage in bundle.stages if bundle.stages[stage]["folder"] in FOLDERS[key]]
    if not stages:
        return MISSING
    tree = read_tree(bundle.folder / "code")
    for stage in stages:
        if stage_code_hash(tree, bundle.stages[stage]["folder"]) != bundle.artifacts[stage]["code"]:
            raise DataError(f"the code in the bundle is not what stage {stage} ran")
    folders = sorted({bundle.stages[stage]["folder"] + "/" for stage in stages})
    return _there(
        bundle,
        ["code/repo.bundle"],
        licence=CODE_LICENSE,
        proof=f"the files of {', '.join(folders)} have the hash that {', '.join(stages)} ran with",
    )


def _architecture(bundle: Bundle) -> Found:
    tree = read_tree(bundle.folder / "code")
    if not any(name.startswith("model/") for name in tree["sha256"]):
        return MISSING
    is_thin = any(path.startswith(f"{WEIGHTS}/") for path in bundle.absent)
    strange = "" if is_thin else first_strange_shape(bundle.folder / WEIGHTS)
    if strange:
        raise DataError(strange)
    held = "the weights are not here to hold it against" if is_thin else say(read_config(bundle.folder / WEIGHTS))
    proof = f"the code of model/ is in the git bundle; {held}"
    return _there(bundle, ["code/repo.bundle", f"{WEIGHTS}/config.json"], licence=CODE_LICENSE, proof=proof)


def _final(bundle: Bundle) -> Found:
    strange = first_strange_shape(bundle.folder / WEIGHTS)
    if strange:
        raise DataError(strange)
    proof = say(read_config(bundle.folder / WEIGHTS))
    return _there(bundle, [f"{WEIGHTS}/model.safetensors"], licence=bundle.record["license"], proof=proof)


def _intermediate(bundle: Bundle) -> Found:
    last = bundle.first_step + len(bundle.steps)
    for step, folder in bundle.checkpoints.items():
        state = bundle.read_json(f"checkpoints/{folder.name}/state.json")
        if state["state_root"] != bundle.line(step)["state"]:
            raise DataError(f"the state root of {folder.name} is not in the ledger")
    between = [step for step in bundle.checkpoints if step != last]
    if not between:
        return MISSING
    proof = f"state roots of steps {', '.join(map(str, between))} stand in the ledger"
    return _there(bundle, ["checkpoints"], licence=bundle.record["license"], proof=proof)


def _optimizer(bundle: Bundle) -> Found:
    paths = [f"checkpoints/{folder.name}/optimizer.safetensors" for folder in bundle.checkpoints.values()]
    if not paths:
        return MISSING
    return _there(bundle, paths, licence=bundle.record["license"], proof="covered by the state roots in the ledger")


def _datasets(bundle: Bundle) -> Found:
    corpus = bundle.read_json("data/manifest.json")
    licence = " AND ".join(sorted({source["license"] or "NONE" for source in corpus["sources"]}))
    proof = f"{len(corpus['shards'])} token shards and their order; sources by hash: " + ", ".join(
        source["name"] for source in corpus["sources"]
    )
    note = "as token ids, which the tokenizer turns back into text; what cleaning dropped is not inside"
    return _there(bundle, ["data/pack"], licence=licence, proof=proof, note=note)


def _evaluation_data(bundle: Bundle) -> Found:
    corpus = bundle.read_json("data/manifest.json")
    licence = " AND ".join(sorted({source["license"] or "NONE" for source in corpus["sources"]}))
    return _there(bundle, ["data/heldout"], licence=licence, proof="held-out documents, as the artifact lists them")


def _cost(bundle: Bundle) -> Found:
    # Hours and energy are the clock's and the machine's, so they are no part of the root.
    said = bundle.read_json(COST)["values"]
    kinds = sorted({row["how"] for row in said})
    proof = f"{len(said)} values: {', '.join(kinds)}; tokens and operations follow from configuration and ledger"
    note = "hours, memory and energy lie in witness/cost.json, outside the root"
    return _there(bundle, [COST], licence=bundle.record["license"], proof=proof, note=note)


def _simple(*paths: str, proof: str, of_code: bool = False) -> Callable[[Bundle], Found]:
    def look(bundle: Bundle) -> Found:
        return _there(bundle, paths, licence=CODE_LICENSE if of_code else bundle.record["license"], proof=proof)

    return look


def _metadata(bundle: Bundle) -> Found:
    configs = [f"config/{stage}.json" for stage in MAKERS if stage in bundle.stages]
    proof = "the configuration that the ledger begins with" if bundle.is_trained else "the model's shape and profile"
    return _there(bundle, [*configs, "env/profile.json"], licence=bundle.record["license"], proof=proof)


def _decontamination(bundle: Bundle) -> Found:
    looked = bundle.read_json("data/manifest.json")["benchmarks"]
    return (
        _there(bundle, ["data/report.json"], licence=bundle.record["license"], proof="sets by hash")
        if looked
        else MISSING
    )


def _lineage(bundle: Bundle) -> Found:
    said = bundle.read_json(LINEAGE)
    comes = said["parents"] or said["start"] or said["merged"]
    proof = "parents by root" if comes else "begins at its own initial state: no parent"
    return _there(bundle, [LINEAGE], licence=bundle.record["license"], proof=proof)


def _libraries(bundle: Bundle) -> Found:
    lock = (bundle.folder / "env/requirements.lock").read_text(encoding="utf-8")
    if lock.count("==") != lock.count("--hash=") or not lock.count("=="):
        raise DataError("env/requirements.lock does not pin every package by hash")
    proof = f"{lock.count('==')} packages pinned by version and hash; the tokenizer's trainer is in the code"
    return _there(bundle, ["env/requirements.lock"], licence=CODE_LICENSE, proof=proof)


LOOKS: Mapping[str, Callable[[Bundle], Found]] = {
    "architecture": _architecture,
    "final": _final,
    "intermediate": _intermediate,
    "optimizer": _optimizer,
    "datasets": _datasets,
    "evaluation_data": _evaluation_data,
    "results": _simple("eval/results.json", proof="the file that stage evaluate made; not scored again here"),
    "samples": _simple("eval/samples.jsonl", proof="the file that stage evaluate made"),
    "data_card": _simple("data/CARD.md", proof="made from data/manifest.json, which holds all that it says"),
    "metadata": _metadata,
    "libraries": _libraries,
    "tokenizer": _simple("tokenizer", proof="the files of stage tokenizer"),
    "log": _simple("logs/ledger.jsonl", proof="a hash-chained line for every step"),
    "environment": _simple(
        "env/requirements.lock", "env/profile.json", proof="packages by hash, profile", of_code=True
    ),
    "flow": _simple("config/stages.yaml", "config/recipe.yaml", proof="stages and the resolved recipe", of_code=True),
    "decontamination": _decontamination,
    "lineage": _lineage,
    "cost": _cost,
}


def _card(bundle: Bundle, words: Words) -> Found:
    return _written(bundle, words, CARD_SECTIONS, "report/model_card.md")


def _report(bundle: Bundle, words: Words) -> Found:
    return _written(bundle, words, REPORT_SECTIONS, "report/technical_report.md")


def _written(bundle: Bundle, words: Words, headings: tuple[str, ...], path: str) -> Found:
    """A document that is made from facts and its author's words. Its size is not told: it would depend on itself."""
    missing = words.missing(headings)
    if missing:
        note = f"made from facts only; its author has not written: {', '.join(missing)}"
        return Found(status=Status.MISSING, paths=(path,), licence=bundle.record["license"], note=note)
    proof = "facts from the bundle, and its author's words in report/words.md"
    return Found(status=Status.PRESENT, paths=(path,), licence=bundle.record["license"], proof=proof)


def _paper(bundle: Bundle, words: Words) -> Found:
    paper = words.declared.get("paper", "")
    if not paper:
        return MISSING
    licence = words.declared.get("paper_license", "NOASSERTION")
    return Found(status=Status.BY_REFERENCE, licence=licence, note=f"declared, not looked up: {paper}")


def _there(bundle: Bundle, paths: Iterable[str], *, licence: str, proof: str, note: str = "") -> Found:
    named = tuple(paths)
    sizes = [_size(bundle.folder / path) for path in named]
    absent = next((path for path, size in zip(named, sizes, strict=True) if not size), "")
    if absent:
        return Found(status=Status.MISSING, paths=named, note=f"{absent} is not there, or empty")
    return Found(status=Status.PRESENT, paths=named, bytes=sum(sizes), licence=licence, proof=proof, note=note)


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0
