"""A stage's result: a folder written aside, hashed, renamed; `artifact.json` names its inputs by hash.

Layout of `<out>/<stage>-<key>/`:
    artifact.json   stage, code hash, identity configuration, inputs by digest, files with hashes, facts
    witness/        what placement and the clock may change (times, journal, host): never part of the digest; a
                    bundle inside an artifact has its own, so this holds for a folder of that name at any depth
    attestations/   what is said of a bundle afterwards (signatures): likewise no part of the digest
    ...             the stage's own files, all listed in artifact.json

The key is the hash of (stage, code, configuration, input digests): it is known before the work starts. The digest is
the SHA-256 of artifact.json: it is known after. `<out>/<stage>.json` points to the artifact that the last run of the
stage made or found, so that a later stage finds its inputs.
"""

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.codetree import code_hash
from core.durable import HALF_WRITTEN, commit_folder, write_durably
from core.errors import DataError, RetryError
from core.hashing import canonical_json, hash_file, hash_value, sha256_hex
from core.notes import leave_work

FORMAT = "wholegrain-artifact-1"
RECORD = "artifact.json"
WITNESS = "witness"
ATTESTATIONS = "attestations"
KEY_DIGITS = 12
LOCK_POLL_S = 0.1

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A finished artifact: where it lies, its digest, and what artifact.json says."""

    folder: Path
    digest: str
    record: dict[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """What the stage tells of its result; `came_in` and `went_out` are for people."""
        facts: dict[str, Any] = self.record["facts"]
        return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An artifact that is to be: everything that decides its key, and where it will lie."""

    out: Path
    stage: str
    code: str
    config: Facts
    inputs: Mapping[str, str]

    @property
    def key(self) -> str:
        """Hash of what decides the result, known before the work starts."""
        return hash_value({"stage": self.stage, "code": self.code, "config": self.config, "inputs": self.inputs})

    @property
    def final(self) -> Path:
        """The folder's name once it is finished."""
        return self.out / f"{self.stage}-{self.key[:KEY_DIGITS]}"

    @property
    def aside(self) -> Path:
        """The folder's name while it is being written; it survives a kill."""
        return self.out / f".{self.stage}-{self.key[:KEY_DIGITS]}.part"


def plan(stage: str, *, folder: str, out: Path, config: Facts, inputs: Mapping[str, Artifact]) -> Plan:
    """Plan the artifact that `stage`, whose code lies in `folder`, makes of a configuration and of inputs."""
    digests = {name: artifact.digest for name, artifact in inputs.items()}
    return Plan(out=out, stage=stage, code=code_hash(folder), config=config, inputs=digests)


def find(wanted: Plan) -> Artifact | None:
    """The finished artifact of a plan, verified, or None; what fails verification is moved out of the way."""
    if not wanted.final.exists():
        return None
    try:
        artifact = open_artifact(wanted.final)
        if artifact.record.get("key") != wanted.key or _is_pointed_otherwise(wanted, artifact):
            raise DataError(f"{wanted.final / RECORD} is not the one that was written there; remake the artifact")
        verify_files(artifact)
    except DataError:
        wanted.final.rename(wanted.out / f".{wanted.final.name}.broken-{time.time_ns()}")
        return None
    return artifact


def _is_pointed_otherwise(wanted: Plan, artifact: Artifact) -> bool:
    path = wanted.out / f"{wanted.stage}.json"
    pointer = json.loads(path.read_bytes()) if path.exists() else {}
    return pointer.get("folder") == wanted.final.name and pointer["digest"] != artifact.digest


def build(
    wanted: Plan,
    write: Callable[[Path], Facts],
    *,
    is_resumable: bool = False,
    lock_wait_s: float = 0.0,
    is_locked: bool = True,
) -> Artifact:
    """Return the artifact of a plan: found and verified, or else made by `write(folder)`.

    `write` fills the folder and returns the facts: JSON values that the clock and placement cannot change, among
    them `came_in` and `went_out`, one phrase each. A resumable writer finds its own unfinished work in the folder;
    for others it is empty. Raises RetryError if another process is still making the same artifact after
    `lock_wait_s`: processes of a killed job may take a moment to be gone. Without `is_locked` somebody else sees to it
    that no two commit: a frozen process would hold a lock for ever.
    """
    wanted.out.mkdir(parents=True, exist_ok=True)
    with _locked(wanted.out / f".{wanted.final.name}.lock", wait_s=lock_wait_s) if is_locked else nullcontext():
        artifact = find(wanted)
        if artifact is None:
            if wanted.aside.exists() and not is_resumable:
                shutil.rmtree(wanted.aside)
            wanted.aside.mkdir(exist_ok=True)
            leave_work(wanted.aside)
            started = time.time()
            facts = write(wanted.aside)
            artifact = publish(wanted, facts, timing={"started": started, "seconds": time.time() - started})
        point(wanted.out, artifact)
    return artifact


def publish(wanted: Plan, facts: Facts, *, timing: Facts) -> Artifact:
    """Hash what lies aside, write artifact.json, and give the folder its final name.

    Files that a killed writer left half-written (core.durable names them so) are removed first.
    """
    for left in sorted(wanted.aside.rglob(HALF_WRITTEN)):
        left.unlink()
    record = {
        "format": FORMAT,
        "stage": wanted.stage,
        "key": wanted.key,
        "code": wanted.code,
        "config": wanted.config,
        "inputs": dict(wanted.inputs),
        "files": list_files(wanted.aside),
        "facts": facts,
    }
    witness = wanted.aside / WITNESS
    witness.mkdir(exist_ok=True)
    (witness / "timing.json").write_bytes(canonical_json(timing))
    content = canonical_json(record)
    (wanted.aside / RECORD).write_bytes(content)
    commit_folder(wanted.aside, wanted.final)
    return Artifact(folder=wanted.final, digest=sha256_hex(content), record=json.loads(content))


def list_files(folder: Path) -> list[dict[str, Any]]:
    """Path, size and SHA-256 of every file below a folder, sorted; not artifact.json, `witness` and `attestations`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = [(path.relative_to(folder), path) for path in files]
    return [
        {"path": name.as_posix(), "bytes": path.stat().st_size, "sha256": hash_file(path)}
        for name, path in named
        if name != Path(RECORD) and not {WITNESS, ATTESTATIONS} & set(name.parts[:-1])
    ]


def open_artifact(folder: Path) -> Artifact:
    """Read artifact.json without looking at the files it lists. Raises DataError if it is not there or torn."""
    path = folder / RECORD
    try:
        content = path.read_bytes()
        record = json.loads(content)
    except (OSError, ValueError) as error:
        raise DataError(f"no readable {RECORD} in {folder}: {error}; run the stage that makes it") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DataError(f"{path} is not a {FORMAT} record; it was made by another version or is damaged")
    return Artifact(folder=folder, digest=sha256_hex(content), record=record)


def verify_files(artifact: Artifact) -> None:
    """Hash every listed file again. Raises DataError naming the first that is missing, added or changed."""
    listed = {entry["path"]: entry for entry in artifact.record["files"]}
    present = {entry["path"]: entry for entry in list_files(artifact.folder)}
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            raise DataError(f"{artifact.folder / name} is listed in {RECORD} but missing; remake the artifact")
        if name not in listed:
            raise DataError(f"{artifact.folder / name} is not listed in {RECORD}; remove it or remake the artifact")
        if listed[name] != present[name]:
            raise DataError(
                f"{artifact.folder / name} has SHA-256 {present[name]['sha256']}, "
                f"{RECORD} says {listed[name]['sha256']}; remake the artifact"
            )


def point(out: Path, artifact: Artifact) -> None:
    """Make `<out>/<stage>.json` point to an artifact."""
    content = canonical_json({"folder": artifact.folder.name, "digest": artifact.digest})
    path = out / f"{artifact.record['stage']}.json"
    if not path.exists() or path.read_bytes() != content:
        write_durably(path, content)


def current(out: Path, stage: str) -> Artifact:
    """The artifact that the last run of a stage made or found. Raises DataError if there is none."""
    path = out / f"{stage}.json"
    if not path.exists():
        raise DataError(f"stage {stage} has not been run in {out}: no {path.name} there; run it first")
    pointer = json.loads(path.read_bytes())
    artifact = open_artifact(out / pointer["folder"])
    if artifact.digest != pointer["digest"]:
        raise DataError(f"{artifact.folder} has changed since {path} was written; run stage {stage} again")
    return artifact


@contextmanager
def _locked(path: Path, *, wait_s: float) -> Iterator[None]:
    deadline = time.monotonic() + wait_s
    with path.open("w") as handle:
        while not _is_locked_now(handle.fileno()):
            if time.monotonic() >= deadline:
                raise RetryError(f"another process holds {path}: it is making the same artifact; wait for it")
            time.sleep(LOCK_POLL_S)
        yield


def _is_locked_now(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
