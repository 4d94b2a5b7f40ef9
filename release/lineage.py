"""The runs that a run comes from: `lineage.json`, and what a bundle holds of its parents below `parents/`.

    parents/<12 digits of the root>/   of a parent's bundle: MANIFEST.jsonl, whose SHA-256 is the parent's root, and of
                                       the files that it lists those of KEPT
    parents/start/step-N/              the checkpoint from which the run goes on (train.start), if it is shipped
    parents/weights/<12 digits>/       weights of others that were merged, or that the training began with and that are
                                       named by their SHA-256 alone, if shipped; config.json beside an export's

What lineage.json says follows from these files and from the child's ledger and recipe, so a check can derive it again.
A parent is there because the child goes on from its state (`continued`, or by its objective `sft` or `preference`),
takes over its mixture and its shards (`data`), or merged weights that its manifest lists (`merge`). Its own
lineage.json stands in it, so sources and licences are handed down over any number of generations.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import ConfigError, DataError
from core.hashing import canonical_json, hash_file, sha256_hex
from core.ledger import Line, read_lines
from release.manifest import NAME, Entry, manifest_root, read_manifest
from release.weights import state_root as root_of

FORMAT = "wholegrain-lineage-1"
LINEAGE = "lineage.json"
PARENTS = "parents"
START, TAKEN = f"{PARENTS}/start", f"{PARENTS}/weights"
DIGITS = 12
LEDGER, SOURCES, ORDER = "logs/ledger.jsonl", "data/sources.json", "data/pack/order.json"
# Files and folders of a parent's bundle that its child holds too.
KEPT = ("bundle.json", LINEAGE, LEDGER, SOURCES, "data/evidence/", "LICENSE", "LICENSES/")
WEIGHTS, SHAPE = "model.safetensors", "config.json"
CHECKPOINT = ("manifest.json", "state.json", WEIGHTS, "optimizer.safetensors")

Record = dict[str, Any]


def start_folder(folder: Path, step: int) -> Path:
    """Where a bundle holds the checkpoint from which it goes on; a checkpoint's folder has the name of its step."""
    return folder / START / f"step-{step:06d}"


def parent_folder(folder: Path, root: str) -> Path:
    """Where a bundle holds the parent with this root."""
    return folder / PARENTS / root[:DIGITS]


def weights_folder(folder: Path, sha256: str) -> Path:
    """Where a bundle holds weights of others that were merged."""
    return folder / TAKEN / sha256[:DIGITS]


def merged_weights(config: Mapping[str, Any]) -> list[Record]:
    """The weights of others that a merge took, by the configuration in its artifact; the run's own are not among them.

    Each with the licence that is stated for it, empty if a parent's bundle is to say.
    """
    taken = [source for source in [*config["base"], *config["models"]] if source["weights_sha256"]]
    return [{"weights_sha256": source["weights_sha256"], "license": source["license"]} for source in taken]


def merge_folders(section: Mapping[str, Any] | None) -> list[Path]:
    """Where a recipe's section `merge` says that these weights lie, in the same order."""
    sources = [*(section.get("base") or []), *section["models"]] if section else []
    return [Path(source.get("folder", "")) for source in sources if source.get("weights_sha256")]


def find_weights(folder: Path, sha256: str) -> Path | None:
    """The file of weights with this SHA-256, anywhere below a folder."""
    return next((path for path in sorted(folder.rglob(WEIGHTS)) if hash_file(path) == sha256), None)


def copy_weights(source: Path, folder: Path, *, sha256: str) -> None:
    """Copy weights that were merged into the bundle. Raises DataError if they are no longer there."""
    found = find_weights(source, sha256)
    if found is None:
        raise DataError(f"{source} no longer holds a {WEIGHTS} with SHA-256 {sha256}, which was merged; bring it back")
    target = weights_folder(folder, sha256)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(found, target / WEIGHTS)
    beside = found.parent / SHAPE
    if beside.is_file() and "architectures" in json.loads(beside.read_bytes()):
        # Of an export, whose tensors have other names: who reads it needs its shape.
        shutil.copyfile(beside, target / SHAPE)


def check_parent(bundle: Path, root: str) -> None:
    """Raise ConfigError unless the folder of a parent's bundle is there and has this root."""
    if not (bundle / NAME).is_file():
        raise ConfigError(f"release.parents names {bundle}, which holds no {NAME}; give the folder of a bundle")
    if manifest_root(bundle) != root:
        raise ConfigError(
            f"{bundle} has root {manifest_root(bundle)}, release.parents says {root}; name the other bundle, or this "
            "root"
        )


def copy_parent(bundle: Path, folder: Path, *, root: str) -> None:
    """Bring what is kept of a parent's bundle into the child's `folder`.

    Raises ConfigError if it is another bundle, DataError naming a file that is not as its manifest says.
    """
    check_parent(bundle, root)
    target = parent_folder(folder, root)
    for entry in _kept(read_manifest(bundle)):
        (target / entry.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / entry.path, target / entry.path)
    shutil.copyfile(bundle / NAME, target / NAME)
    check_kept(target, root=root)


def copy_start(checkpoint: Path, target: Path, *, state_root: str) -> None:
    """Copy the checkpoint from which a run goes on.

    Raises DataError if it is no longer the state with this root.
    """
    target.mkdir(parents=True)
    for name in CHECKPOINT:
        shutil.copyfile(checkpoint / name, target / name)
    found = root_of(target / name for name in CHECKPOINT if name.endswith(".safetensors"))
    if found != state_root:
        raise DataError(
            f"{checkpoint} has state root {found}, train.start.state_root is {state_root}; bring the "
            "parent's checkpoint back"
        )


def check_kept(folder: Path, *, root: str) -> list[Entry]:
    """The whole list of a parent's files. Raises DataError unless what is kept of them is as the list and root say."""
    if manifest_root(folder) != root:
        raise DataError(
            f"{folder / NAME} has SHA-256 {manifest_root(folder)}, lineage says {root}; get the bundle again"
        )
    listed = read_manifest(folder)
    wanted = {entry.path: entry.sha256 for entry in _kept(listed)} | {NAME: root}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted(wanted.keys() | found):
        if name not in wanted or name not in found or hash_file(folder / name) != wanted[name]:
            raise DataError(f"{folder / name} is missing or not what the parent's manifest says; get the bundle again")
    return listed


def read_lineage(
    folder: Path,
    *,
    roots: Sequence[str],
    first: Mapping[str, Any],
    base_sha256: str,
    start_license: str,
    is_start_shipped: bool,
    stages: Sequence[str] = ("train",),
    merged: Sequence[Mapping[str, Any]] = (),
) -> Record:
    """What a bundle's lineage.json says, derived from what it holds of its parents.

    `first` is the first line of the child's ledger, `base_sha256` the data root that its pack takes over, or empty;
    `stages` are those whose artifacts are inside, `merged` what merged_weights gives.
    Raises DataError for a parent that is damaged or of which nothing comes, and where one is missing.
    """
    start = first.get("parent")
    taken = [one["weights_sha256"] for one in merged]
    parents = [
        _parent(parent_folder(folder, root), root, first=first, base_sha256=base_sha256, taken=taken) for root in roots
    ]
    made: Record | None = None
    if start:
        owners = [parent for parent in parents if relation_of(first) in parent["relations"]]
        license_ = owners[0]["license"] if owners else start_license
        is_named = "state_root" not in start or "imported" in start
        if not owners and not (is_named and start_license):
            raise DataError(
                f"the run {say_start(start)}, and "
                "release.parents names no bundle of it; add {bundle: FOLDER, root: HEX}, or for weights that no "
                "ledger tells of release.start_license"
            )
        made = {**start, "license": license_, "is_shipped": is_start_shipped}
    if base_sha256 and not any("data" in parent["relations"] for parent in parents):
        raise DataError(
            f"pack.base takes over the data order {base_sha256}, and release.parents names no bundle that holds it; "
            "add {bundle: FOLDER, root: HEX}"
        )
    weights = [_weights(one, parents, is_shipped=is_start_shipped) for one in merged]
    kinds = kinds_of(stages, first)
    return {"format": FORMAT, "kinds": kinds, "start": made, "merged": weights, "parents": parents}


def kinds_of(stages: Sequence[str], first: Mapping[str, Any]) -> list[str]:
    """How the published weights came about, in order: a training's kind, `merge` and `quantized`."""
    kinds = {
        "train": relation_of(first) if first.get("parent") else first.get("objective", "pretrain"),
        "merge": "merge",
        "quantize": "quantized",
    }
    return [kind for stage, kind in kinds.items() if stage in stages]


def say_start(start: Mapping[str, Any]) -> str:
    """With what a run begins that another made, in one phrase."""
    if "state_root" not in start:
        return f"takes the weights with SHA-256 {start['weights_sha256']}"
    how = "takes the weights of" if "takes" in start else "goes on from"
    return f"{how} step {start['step']} of a run with ledger head {start['ledger_head']}"


def relation_of(first: Mapping[str, Any]) -> str:
    """What a run with this first line of its ledger is to its parent: `continued`, `sft` or `preference`."""
    return str(first.get("objective", "continued"))


def _weights(taken: Mapping[str, Any], parents: Sequence[Mapping[str, Any]], *, is_shipped: bool) -> Record:
    """What lineage.json says of weights that were merged: by whose licence, and of which parent's bundle."""
    sha256 = taken["weights_sha256"]
    owner = next((parent for parent in parents if sha256 in parent["merged"]), None)
    license_ = owner["license"] if owner else taken["license"]
    if not license_:
        raise DataError(
            f"merged were weights with SHA-256 {sha256}, and release.parents names no bundle that holds them; add "
            "{bundle: FOLDER, root: HEX}, or their license in section merge"
        )
    root = owner["root"] if owner else ""
    return {"weights_sha256": sha256, "license": license_, "root": root, "is_shipped": is_shipped}


def write_lineage(folder: Path, lineage: Record) -> None:
    """Write lineage.json."""
    (folder / LINEAGE).write_bytes(canonical_json(lineage))


def inherited_sources(lineage: Mapping[str, Any]) -> dict[str, str]:
    """The licence of every source of every parent, and of theirs, by name."""
    found: dict[str, str] = {}
    for parent in ancestors(lineage):
        found = {**parent["sources"], **found}
    return found


def ancestors(lineage: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every parent, and after it its own."""
    for parent in lineage["parents"]:
        yield parent
        yield from ancestors(parent)


def kept_licenses(folder: Path, lineage: Mapping[str, Any]) -> dict[str, str]:
    """The licence of each file below parents/, by its path in the bundle: what the parent's own manifest says."""
    found: dict[str, str] = {}
    for parent in lineage["parents"]:
        place = parent_folder(folder, parent["root"])
        listed = {entry.path: entry.license for entry in _kept(read_manifest(place))} | {NAME: parent["license"]}
        found |= {(place / path).relative_to(folder).as_posix(): license_ for path, license_ in listed.items()}
    if lineage["start"] and lineage["start"]["is_shipped"] and "state_root" in lineage["start"]:
        start = start_folder(folder, lineage["start"]["step"]).relative_to(folder)
        found |= {(start / name).as_posix(): lineage["start"]["license"] for name in CHECKPOINT}
    named = [one for one in [lineage["start"], *lineage["merged"]] if one and "state_root" not in one]
    for taken in (one for one in named if one["is_shipped"]):
        place = weights_folder(folder, taken["weights_sha256"])
        held = [place / name for name in (WEIGHTS, SHAPE) if name == WEIGHTS or (place / name).is_file()]
        found |= {path.relative_to(folder).as_posix(): taken["license"] for path in held}
    return found


def _kept(entries: Sequence[Entry]) -> list[Entry]:
    folders = tuple(name for name in KEPT if name.endswith("/"))
    return [entry for entry in entries if entry.path in KEPT or entry.path.startswith(folders)]


def _parent(folder: Path, root: str, *, first: Mapping[str, Any], base_sha256: str, taken: Sequence[str]) -> Record:
    files = {entry.path: entry.sha256 for entry in check_kept(folder, root=root)}
    record = json.loads((folder / "bundle.json").read_bytes())
    index = json.loads((folder / SOURCES).read_bytes())
    theirs = json.loads((folder / LINEAGE).read_bytes())["parents"] if LINEAGE in files else []
    relations, start = [], first.get("parent")
    listed = {files[path] for path in files if path.endswith(f"/{WEIGHTS}")}
    if start and _is_of(folder, start, listed=listed, has_ledger=LEDGER in files):
        relations.append(relation_of(first))
    if base_sha256 and files.get(ORDER) == base_sha256:
        relations.append("data")
    merged = sorted(listed & set(taken))
    if merged:
        relations.append("merge")
    if not relations:
        raise DataError(
            f"nothing of this run comes from the bundle with root {root}: neither its ledger, its data order nor its "
            "weights; take it out of release.parents"
        )
    return {
        "root": root,
        "name": record["name"],
        "relations": relations,
        "merged": merged,
        "full_head": record["full_head"],
        "trajectory_head": record["trajectory_head"],
        "license": record["license"],
        "sources": {source["name"]: source["license"] for source in index},
        "parents": theirs,
    }


def _is_of(folder: Path, start: Mapping[str, Any], *, listed: set[str], has_ledger: bool) -> bool:
    """Whether what a run begins with is a parent's: a state that its ledger names, or weights that it lists."""
    if "state_root" not in start:
        return start["weights_sha256"] in listed
    # A run that only merged has no ledger.
    return has_ledger and _has_state(read_lines(folder / LEDGER), start)


def _has_state(lines: Sequence[Line], start: Mapping[str, Any]) -> bool:
    """Whether a ledger has the line that a child names as its parent's, with the same state."""
    line = next((line for line in lines[1:] if line["step"] == start["step"]), None)
    return (
        line is not None
        and sha256_hex(canonical_json(line)) == start["ledger_head"]
        and line.get("state") == start["state_root"]
    )
