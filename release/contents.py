"""A bundle as its checks read it: parsed when asked for, and never trusted."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from core.artifact import WITNESS
from core.config import resolve
from core.errors import ConfigError, DataError
from core.hashing import hash_file
from core.ledger import Line, parent_step, read_lines
from release.lineage import find_weights, start_folder, weights_folder
from release.manifest import NAME, Entry, manifest_root, read_absent, read_manifest
from release.stage import ask_fingerprint, first_value, read_stages
from release.verdict import InconclusiveError

Record = dict[str, Any]

# More than any honest part has; a verifier's memory should not be its maker's to fill.
MAX_JSON_BYTES = 1 << 30
# The stages that make weights, in order.
TRAIN, MERGE, QUANTIZE = MAKERS = ("train", "merge", "quantize")
# Aliases of aliases grow exponentially when they are resolved.
MAX_ALIASES = 20


@dataclass
class Bundle:
    """A bundle's folder, and the parts that checks look at. Whatever is missing or no JSON raises DataError.

    What a verifier brings: `nonce` is mixed into every draw; of segments to audit, `segments` are drawn besides those
    that always are, and `ranks` processes replay them; `is_everything` asks for all scores instead of a drawn part;
    `scratch` is a folder for what checks unpack; `parent` is the checkpoint that this run goes on from, or a folder
    that has it under `checkpoints/`, if it is not inside; `key` is the maker's public key and `verifiers` are those of
    others, as files. What checks find: `code` is the folder whose code may be run, and `is_whole` says that every file
    has the hash that the manifest gives; `seen` are files that are here by reference only, and whose bytes were seen
    elsewhere.
    """

    folder: Path
    nonce: str = ""
    segments: int = 1
    ranks: int = 1
    is_everything: bool = False
    expected_root: str = ""
    parent: Path = field(default_factory=Path)
    key: Path | None = None
    verifiers: list[Path] = field(default_factory=list)
    scratch: Path = field(default_factory=Path)
    code: Path = field(default_factory=Path)
    is_whole: bool = False
    seen: set[str] = field(default_factory=set)

    @cached_property
    def profile_difference(self) -> str:
        """How this machine answers the numerics profile otherwise than the bundle's did; empty if it does not."""
        return first_value(self.trained["profile"], ask_fingerprint(self.runnable_code(), self.runnable_recipe()))

    def runnable_code(self) -> Path:
        """The folder whose code may be run on this bundle. Raises InconclusiveError if an earlier check failed."""
        if not self.is_whole:
            raise InconclusiveError("not run, since the files are not what the manifest says")
        if self.code == Path():
            raise InconclusiveError("not run, since the code is not what it is said to be")
        return self.code

    @property
    def root(self) -> str:
        """SHA-256 of the manifest."""
        return manifest_root(self.folder)

    @cached_property
    def absent(self) -> dict[str, Entry]:
        """What a thin bundle holds by reference only, by path."""
        return read_absent(self.folder)

    @cached_property
    def record(self) -> Record:
        """bundle.json."""
        return self.read_json("bundle.json")

    @cached_property
    def stages(self) -> dict[str, Record]:
        """The stages whose artifacts are inside, in order."""
        stages = read_whole(self)
        return {name: stages[name] for name in stages["bundle"]["inputs"]}

    @cached_property
    def artifacts(self) -> dict[str, Record]:
        """artifact.json of every stage."""
        return {stage: self.read_json(f"artifacts/{stage}.json") for stage in self.stages}

    @cached_property
    def digests(self) -> dict[str, str]:
        """The digest of every stage's artifact: SHA-256 of its artifact.json."""
        return {stage: hash_file(self.folder / "artifacts" / f"{stage}.json") for stage in self.stages}

    @cached_property
    def ledger(self) -> list[Line]:
        """The ledger's lines, genesis first; their chain is unbroken."""
        path = self.folder / "logs" / "ledger.jsonl"
        if not path.is_file():
            raise DataError(f"{path} is missing; get the bundle again")
        return read_lines(path)

    @property
    def is_trained(self) -> bool:
        """Whether the run has a training of its own; one that merges what others trained has none."""
        return TRAIN in self.stages

    @property
    def maker(self) -> str:
        """The stage that made the published weights: the last of those that make some."""
        return next(stage for stage in reversed(MAKERS) if stage in self.stages)

    @property
    def steps(self) -> list[Line]:
        """The ledger's lines of steps; none if nothing was trained."""
        return self.ledger[1:] if self.is_trained else []

    @property
    def first_step(self) -> int:
        """The step behind which the ledger begins: 0, or the parent's."""
        return parent_step(self.ledger[0]) if self.is_trained else 0

    def line(self, step: int) -> Line:
        """A step's line of the ledger."""
        return self.ledger[step - self.first_step]

    @cached_property
    def trained(self) -> Record:
        """What the first stage that made weights wrote of its configuration: model, the profile's fingerprint, and
        train if it trained."""
        return self.read_json(self.trained_path)

    @property
    def trained_path(self) -> str:
        """Where `trained` stands."""
        return f"config/{next(stage for stage in MAKERS if stage in self.stages)}.json"

    @property
    def pack(self) -> Path:
        """The folder of the token shards and the data order."""
        return self.folder / "data" / "pack"

    @property
    def recipe_path(self) -> Path:
        """Where the resolved recipe lies."""
        return self.folder / "config" / "recipe.yaml"

    @property
    def has_start(self) -> bool:
        """Whether the run begins with what another made: with all of its state, or with its weights."""
        return self.is_trained and "parent" in self.ledger[0]

    @property
    def start_step(self) -> int:
        """The step of that state in the other run."""
        return int(self.ledger[0]["parent"]["step"])

    @property
    def tokens_per_step(self) -> int:
        """Positions of a step; of a pair those of both its answers."""
        train = self.trained.get("train")
        if not train:
            return 0
        rows = 2 if train.get("objective") == "preference" else 1
        return int(train["micro_batches"] * train["micro_batch"] * rows * self.recipe["pack"]["seq_len"])

    @property
    def start(self) -> Path:
        """The checkpoint that the run goes on from: the given one, else the one inside, which may be missing. Weights
        that are named by their hash alone lie in a folder of their own."""
        parent = self.ledger[0]["parent"]
        if "state_root" not in parent:
            given = find_weights(self.parent, parent["weights_sha256"]) if self.parent != Path() else None
            return given.parent if given else weights_folder(self.folder, parent["weights_sha256"])
        if self.parent == Path():
            return start_folder(self.folder, self.start_step)
        inner = self.parent / "checkpoints" / f"step-{self.start_step:06d}"
        return inner if inner.is_dir() else self.parent

    def runnable_recipe(self) -> Path:
        """A recipe for verbs that train: the resolved one, with the place of the parent's checkpoint."""
        if not self.has_start:
            return self.recipe_path
        train = self.recipe["train"]
        placed = {**train, "start": {**train["start"], "checkpoint": str(self.start)}}
        path = self.scratch / "placed.yaml"
        path.write_text(yaml.safe_dump({**self.recipe, "train": placed}, allow_unicode=True), encoding="utf-8")
        return path

    @cached_property
    def recipe(self) -> Record:
        """The resolved recipe."""
        try:
            aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(self.recipe_path.read_bytes()))
            if aliases > MAX_ALIASES:
                raise DataError(f"{self.recipe_path} has {aliases} aliases and would fill the memory; get it again")
            return resolve(str(self.recipe_path))
        except (ConfigError, yaml.YAMLError) as error:
            raise DataError(str(error)) from error

    @cached_property
    def checkpoints(self) -> dict[int, Path]:
        """The shipped checkpoints by step."""
        folders = sorted((self.folder / "checkpoints").glob("step-*"))
        return {int(folder.name.removeprefix("step-")): folder for folder in folders}

    @cached_property
    def licenses(self) -> dict[str, str]:
        """The licence of every file, by the manifest."""
        return {entry.path: entry.license for entry in read_manifest(self.folder)}

    @property
    def witness(self) -> Path:
        """What placement and the clock decided."""
        return self.folder / WITNESS

    def read_json(self, name: str) -> Record:
        """A JSON object of the bundle."""
        value = self._read(name)
        if not isinstance(value, dict):
            raise DataError(f"{self.folder / name} is no JSON object; get the bundle again")
        return value

    def read_list(self, name: str) -> list[Record]:
        """A JSON list of the bundle."""
        value = self._read(name)
        if not isinstance(value, list):
            raise DataError(f"{self.folder / name} is no JSON list; get the bundle again")
        return value

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            if path.stat().st_size > MAX_JSON_BYTES:
                raise ValueError(f"it has {path.stat().st_size} bytes")
            return json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} is missing or damaged: {error}; get the bundle again") from error


def open_bundle(folder: Path) -> Bundle:
    """A bundle's folder. Raises ConfigError if it is none."""
    if not any((folder / name).is_file() for name in (NAME, "logs/ledger.jsonl", "code/tree.json")):
        raise ConfigError(f"{folder} is no bundle; give the folder that holds {NAME}")
    return Bundle(folder=folder.resolve())


def read_whole(bundle: Bundle) -> dict[str, Record]:
    """All of config/stages.yaml: the stages that ran, and those of the bundle itself. Raises DataError."""
    path = bundle.folder / "config" / "stages.yaml"
    try:
        stages = read_stages(path)
    except ConfigError as error:
        raise DataError(str(error)) from error
    unknown = set(stages["bundle"]["inputs"]) - stages.keys() if "bundle" in stages else {"bundle"}
    if unknown:
        raise DataError(f"{path} has no stage {sorted(unknown)[0]}; a bundle states the stages that made it")
    return stages
