"""Where the stages' files lie in a bundle, and what role and licence each file has there."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

FORMAT = "wholegrain-bundle-1"
CODE_LICENSE = "Apache-2.0"

# Stage, file or folder of its artifact, place in the bundle. What no row names is not shipped: the downloads (a
# reproduction fetches them again by hash), the training documents and what was dropped (made again from them).
PLACES = (
    ("fetch", "sources.json", "data/sources.json"),
    ("fetch", "evidence/", "data/evidence/"),
    ("clean", "report.json", "data/report.json"),
    ("clean", "heldout/", "data/heldout/"),
    ("tokenizer", "", "tokenizer/"),
    ("pack", "", "data/pack/"),
    ("manifest", "", "data/"),
    ("train", "config.json", "config/train.json"),
    ("train", "ledger.jsonl", "logs/ledger.jsonl"),
    ("train", "reference.bin", "logs/reference.bin"),
    ("train", "checkpoints/", "checkpoints/"),
    ("merge", "config.json", "config/merge.json"),
    ("merge", "merge.json", "logs/merge.json"),
    ("quantize", "config.json", "config/quantize.json"),
    ("quantize", "quantize.json", "logs/quantize.json"),
    ("quantize", "losses.json", "logs/quantize-losses.json"),
    ("quantize", "quantized.safetensors", "weights/quantized.safetensors"),
    ("evaluate", "", "eval/"),
    ("export", "", "weights/final/"),
)

# Folder or file at the top of the bundle: its role, whether it is the code's or the run's, and what it is.
CONTENTS = {
    "README.md": ("document", "code", "what this is, how to verify it, how to redo it"),
    "MANIFEST.md": ("document", "code", "this list"),
    "LICENSE": ("license", "code", "licence of the code"),
    "LICENSES": ("license", "code", "licence texts by SPDX identifier"),
    "bundle.json": ("record", "code", "name, heads and hashes for machines"),
    "verify.sh": ("code", "code", "checks the bundle with its own code"),
    "reproduce.sh": ("code", "code", "redoes everything from the sources and compares"),
    "code": ("code", "code", "the code that ran, as a git bundle, and its list of files"),
    "config": ("configuration", "code", "the resolved recipe without placement, and the stages"),
    "data": (
        "data",
        "run",
        "manifest and data card, sources and licences, held-out documents, token shards, data order",
    ),
    "tokenizer": ("tokenizer", "run", "the tokenizer and its training record"),
    "weights": ("weights", "run", "the final weights as a Hugging Face folder; quantized ones as a file beside it"),
    "checkpoints": ("checkpoint", "run", "model and optimizer state after some steps"),
    "logs": ("log", "run", "the ledger: one hash-chained line a step; what was merged or quantized, and of what"),
    "env": ("environment", "code", "numerics profile, pinned packages"),
    "eval": ("evaluation", "run", "scores and samples"),
    "lineage.json": ("lineage", "code", "the runs from which this one goes on, their sources and licences"),
    "cost.json": ("record", "run", "tokens and operations, computed; energy and money, where they are declared"),
    "parents": (
        "lineage",
        "code",
        "of those runs: manifest, ledger, sources with evidence, the state or weights taken",
    ),
    "artifacts": ("record", "code", "artifact.json of every stage: the chain of inputs by hash"),
    "report": ("document", "run", "how open it is, model card, technical report, and a page that shows it all"),
}


def place(stage: str, path: str) -> str:
    """Where a file of a stage's artifact lies in a bundle; an empty string if it is not shipped."""
    for owner, source, target in PLACES:
        if owner == stage and (path == source or not source or (source.endswith("/") and path.startswith(source))):
            return target + path.removeprefix(source)
    return ""


def shipped(stage: str, paths: Iterable[str], *, every: int) -> dict[str, str]:
    """The files of a stage's artifact that a bundle holds, each with its place.

    Of the checkpoints, those whose step is a multiple of `every`, and the last.
    """
    places = {path: place(stage, path) for path in paths}
    last = max((checkpoint_step(path) for path in places), default=0)
    return {
        path: target
        for path, target in places.items()
        if target and (not (step := checkpoint_step(path)) or step % every == 0 or step == last)
    }


def checkpoint_step(path: str) -> int:
    """The step of the checkpoint that a file belongs to, from its path `checkpoints/step-N/...`; else 0."""
    parts = PurePosixPath(path).parts
    is_checkpoint = len(parts) > 1 and parts[0] == "checkpoints" and parts[1].startswith("step-")
    return int(parts[1].removeprefix("step-")) if is_checkpoint else 0


def describe(path: str, *, sources: Mapping[str, str], license_of_run: str, kept: Mapping[str, str]) -> tuple[str, str]:
    """Role and licence of a file of the bundle.

    `sources` gives the licence of each source, `kept` that of each file that is a parent's.
    """
    role, owner, _ = CONTENTS[PurePosixPath(path).parts[0]]
    if path in kept:
        return role, kept[path]
    if path.startswith("data/"):
        source = _source(path, sources)
        is_evidence = path.startswith("data/evidence/")
        return "evidence" if is_evidence else role, sources[source] if source else license_of_run
    return role, license_of_run if owner == "run" else CODE_LICENSE


def _source(path: str, sources: Mapping[str, str]) -> str:
    """The source whose text a file below data/ holds; an empty string if it is about all of them."""
    _, folder, *rest = PurePosixPath(path.replace("data/pack/heldout/", "data/heldout/")).parts
    if folder not in ("evidence", "heldout", "pack") or not rest:
        return ""
    names = [name for name in sources if rest[0] == name or rest[0].startswith((f"{name}.", f"{name}-"))]
    return max(names, key=len, default="")
