"""What a liar would do to a bundle, with as much care as is asked for."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.artifact import WITNESS
from core.hashing import canonical_json, hash_file, hash_value
from core.ledger import Line, full_head, trajectory_head
from release.manifest import NAME, list_files, read_manifest, write_manifest
from release.weights import chunk_hashes, state_root

LEDGER = "logs/ledger.jsonl"


def flip_bit(path: Path, *, at: int | None = None) -> None:
    """Change one bit of a file, in its middle unless told where."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1
    path.write_bytes(content)


def edit_json(path: Path, **changes: Any) -> None:
    """Change some fields of a JSON object."""
    path.write_bytes(canonical_json({**json.loads(path.read_bytes()), **changes}))


def reseal(folder: Path) -> None:
    """Make the manifest fit the files again; what was added gets the role and licence of its neighbours."""
    known = {entry.path: (entry.role, entry.license) for entry in read_manifest(folder)}
    beside = {str(Path(path).parent): said for path, said in known.items()}

    def describe(path: str) -> tuple[str, str]:
        return known.get(path) or beside.get(str(Path(path).parent), ("data", "CC0-1.0"))

    write_manifest(folder, list_files(folder, describe))
    if (folder / WITNESS / NAME).exists():
        write_manifest(folder / WITNESS, list_files(folder / WITNESS, lambda _: (WITNESS, "CC0-1.0")))


def edit_ledger(folder: Path, *, step: int, is_chained: bool = True, **changes: Any) -> list[Line]:
    """Change numbers of a step in the ledger, and chain all later lines anew."""
    lines = [json.loads(line) for line in (folder / LEDGER).read_bytes().splitlines()]
    lines[step] |= changes
    for before, line in pairwise(lines):
        if is_chained:
            line["prev"] = full_head([before])
    (folder / LEDGER).write_bytes(b"".join(canonical_json(line) + b"\n" for line in lines))
    return lines


def make_consistent(folder: Path) -> None:
    """Make everything that names the ledger or a checkpoint fit it again: a liar who forgets nothing."""
    lines = [json.loads(line) for line in (folder / LEDGER).read_bytes().splitlines()]
    for checkpoint in sorted((folder / "checkpoints").iterdir()):
        head = full_head([lines[int(checkpoint.name.removeprefix("step-"))]])
        edit_json(checkpoint / "state.json", ledger_head=head)
        files = json.loads((checkpoint / "manifest.json").read_bytes())["files"]
        for entry in files:
            path = checkpoint / entry["path"]
            entry |= {"sha256": hash_file(path), "bytes": path.stat().st_size}
        edit_json(checkpoint / "manifest.json", ledger_head=head, files=files)
    heads = {"trajectory_head": trajectory_head(lines[1:]), "full_head": full_head(lines)}
    _refit_artifacts(folder, heads)
    digests = {path.stem: hash_file(path) for path in (folder / "artifacts").iterdir()}
    edit_json(folder / "bundle.json", **heads, artifacts=digests)
    reseal(folder)


def refit_states(folder: Path) -> None:
    """Make ledger and checkpoints name the state roots that the tensors have, and the ledger be chained anew."""
    facts = {}
    for checkpoint in sorted((folder / "checkpoints").iterdir()):
        tensors = [checkpoint / name for name in ("model.safetensors", "optimizer.safetensors")]
        root, step = state_root(tensors), int(checkpoint.name.removeprefix("step-"))
        edit_ledger(folder, step=step, state=root)
        edit_json(checkpoint / "state.json", state_root=root)
        edit_json(checkpoint / "manifest.json", state_root=root, chunks=chunk_hashes(tensors))
        facts = {"state_root": root, "weights_sha256": hash_file(tensors[0])}
    record = json.loads((folder / "artifacts/train.json").read_bytes())
    edit_json(folder / "artifacts/train.json", facts={**record["facts"], **facts})
    edit_json(folder / "bundle.json", weights_sha256=facts["weights_sha256"])


def refit_stage(folder: Path, stage: str, place: str) -> None:
    """Make a stage's record list the files that lie in its folder now, whatever they are."""
    listed = [
        {"path": path.relative_to(folder / place).as_posix(), "bytes": path.stat().st_size, "sha256": hash_file(path)}
        for path in sorted((folder / place).rglob("*"))
        if path.is_file()
    ]
    edit_json(folder / f"artifacts/{stage}.json", files=listed)


def _refit_artifacts(folder: Path, heads: dict[str, str]) -> None:
    train = folder / "artifacts/train.json"
    record = json.loads(train.read_bytes())
    for entry in record["files"]:
        path = folder / (LEDGER if entry["path"] == "ledger.jsonl" else entry["path"])
        if path.is_file() and entry["path"] != "config.json":
            entry |= {"sha256": hash_file(path), "bytes": path.stat().st_size}
    edit_json(train, files=record["files"], facts={**record["facts"], **heads})
    for name in ("evaluate", "export"):
        path = folder / f"artifacts/{name}.json"
        record = json.loads(path.read_bytes())
        record["inputs"]["train"] = hash_file(train)
        key = hash_value({field: record[field] for field in ("stage", "code", "config", "inputs")})
        edit_json(path, inputs=record["inputs"], key=key)
