"""Verb build: closes a run's artifacts into one folder that proves itself.

Reads the artifacts of every stage, the checkout's code and the recipe. Writes `<name>/` into artifact `bundle`. The
same recipe under the same numerics profile gives the same root, whatever the ranks, the machine and the interruptions:
all that those may change goes to `<name>/witness/`, which has a manifest of its own. The layout is in layout.py.
"""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from core.artifact import RECORD, WITNESS, Artifact, build, current, plan
from core.cli import recipe_and_overrides
from core.codetree import MAY_IMPORT, ROOT, code_hash
from core.config import RunConfig, identity, load, resolve
from core.errors import ConfigError, DataError
from core.hashing import canonical_json, hash_file, hash_value, sha256_hex
from core.journal import read_journal
from core.ledger import full_head, read_lines, trajectory_head
from core.stages import stages_of, weights_stage
from release.code import CodeFiles, commit_facts, read_checkout, write_code
from release.config import ReleaseConfig, Shape, check_name
from release.console import cleaned, console_logs
from release.contents import MAKERS, MERGE, TRAIN, open_bundle
from release.cost import COST, told
from release.documents import manifest_page
from release.environment import hardware, installed_packages
from release.gitpack import tree_id
from release.layout import CODE_LICENSE, CONTENTS, FORMAT, describe, shipped
from release.lineage import (
    LEDGER,
    copy_parent,
    copy_start,
    copy_weights,
    inherited_sources,
    kept_licenses,
    merge_folders,
    merged_weights,
    read_lineage,
    start_folder,
    write_lineage,
)
from release.manifest import Entry, list_files, write_manifest
from release.openness.facts import WORDS_PATH
from release.openness.render import render, scripts
from release.openness.words import read_words
from release.recipe import TRAIN_SECTIONS, neutral_recipe, to_yaml
from release.thin import make_thin
from release.witness import JOURNALS, journals_outside, read_account

STAGE = "bundle"
LICENSE, LOCK = "LICENSE", "requirements.lock"

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Release:
    """All that a bundle is made of."""

    name: str
    config: ReleaseConfig
    code: CodeFiles
    resolved: Record
    stages: dict[str, Record]
    inputs: dict[str, Artifact]
    words: bytes
    lineage: Record = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    account: Record = field(default_factory=dict)
    outside: Mapping[str, Path] = field(default_factory=dict)
    console: Mapping[str, bytes] = field(default_factory=dict)

    @cached_property
    def all_sources(self) -> dict[str, str]:
        """The licence of each source, the parents' too."""
        return {**inherited_sources(self.lineage), **self.sources}

    @property
    def sources(self) -> dict[str, str]:
        """The licence of each source."""
        index = json.loads((self.inputs["fetch"].folder / "sources.json").read_bytes())
        return {source["name"]: source["license"] for source in index}

    @property
    def trained(self) -> Record:
        """What the first stage that made weights wrote: sections model and train, and the profile's fingerprint."""
        first = next(stage for stage in MAKERS if stage in self.inputs)
        record: Record = json.loads((self.inputs[first].folder / "config.json").read_bytes())
        return record

    @property
    def shipped(self) -> dict[str, dict[str, str]]:
        """By stage, the artifact's files that go into the bundle, each with its place."""
        every = self.config.checkpoint_every_steps
        return {
            stage: shipped(stage, [entry["path"] for entry in artifact.record["files"]], every=every)
            for stage, artifact in self.inputs.items()
        }


def main(arguments: list[str]) -> None:
    """Run the verb: make or find the bundle and write its artifact's folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m release build")
    run = load(recipe, "run", RunConfig, overrides)
    check_name(run.name)
    config = load(recipe, "release", ReleaseConfig, overrides)
    code, stages = read_checkout(ROOT), {stage.name: stage.plain() for stage in stages_of(recipe, overrides)}
    inputs = {stage: current(run.inputs_folder, stage) for stage in stages[STAGE]["inputs"]}
    _check_code(inputs, stages)
    # The name and the whole code tree are in the bundle, so they decide its key; a stage's own code hash does not
    # cover the recipes, scripts and pages of the checkout.
    words = config.words_path.read_bytes() if config.words_path and read_words(config.words_path) else b""
    decided = {**identity(config), "name": run.name, "tree": tree_id(code), "words": sha256_hex(words)}
    wanted = plan(STAGE, folder="release", out=run.out_folder, config=decided, inputs=inputs)
    release = Release(
        name=run.name,
        config=config,
        code=code,
        resolved=resolve(recipe, overrides),
        stages=stages,
        inputs=inputs,
        words=words,
        account=read_account(recipe, overrides) if TRAIN in inputs else {},
        outside=journals_outside(run.out_folder),
        console={
            name: cleaned(path, out=run.out_folder)
            for name, path in console_logs(run.out_folder).items()
            if path.stem.partition("-")[0] in inputs
        },
    )
    artifact = build(wanted, lambda aside: write_bundle(aside, release))
    sys.stdout.write(f"{artifact.folder}\n")
    if config.shape is Shape.THIN:
        sys.stdout.write(f"{_thinned(artifact, run.out_folder, config)}\n")


def _thinned(artifact: Artifact, out: Path, config: ReleaseConfig) -> Path:
    """The thin bundle in the run's folder: made again, since mirrors may be others than last time."""
    name = str(artifact.facts["bundle"])
    thin = out / f"{name}-thin"
    if thin.exists():
        shutil.rmtree(thin)
    make_thin(artifact.folder / name, thin, mirrors=config.mirrors)
    return thin


def write_bundle(aside: Path, release: Release) -> Record:
    """Write the bundle into `aside`/<name> and return the artifact's facts."""
    folder = aside / release.name
    folder.mkdir()
    _write_artifacts(folder, release)
    lineage = _write_parents(folder, release)
    release = replace(release, lineage=lineage, kept=kept_licenses(folder, lineage))
    _write_code(folder, release)
    _write_config(folder, release)
    record = _record(folder, release)
    (folder / "bundle.json").write_bytes(canonical_json(record))
    _write_report(folder, release)
    entries = _write_pages(folder, release, record)
    root = write_manifest(folder, entries)
    _write_witness(folder / WITNESS, release, root)
    return {
        "came_in": f"{len(release.inputs)} artifacts, {len(release.code)} code files",
        "went_out": f"{len(entries)} files, {sum(entry.bytes for entry in entries) / 1e6:.1f} MB",
        "bundle": release.name,
        "root": root,
        "trajectory_head": record["trajectory_head"],
        "full_head": record["full_head"],
    }


def _check_code(inputs: Mapping[str, Artifact], stages: Mapping[str, Record]) -> None:
    for stage, artifact in inputs.items():
        if artifact.record["code"] != code_hash(stages[stage]["folder"]):
            raise DataError(
                f"{artifact.folder} was made by other code than the checkout's; run the whole recipe again, "
                "so that the bundle's code is what ran"
            )


def _write_artifacts(folder: Path, release: Release) -> None:
    for stage, artifact in release.inputs.items():
        for source, target in release.shipped[stage].items():
            _copy(artifact.folder / source, folder / target)
        _copy(artifact.folder / RECORD, folder / "artifacts" / f"{stage}.json")


def _write_parents(folder: Path, release: Release) -> Record:
    """Write what the bundle holds of the runs that this one comes from; returns what lineage.json says."""
    config, start = release.config, (release.resolved.get("train") or {}).get("start") or {}
    for parent in config.parents:
        copy_parent(parent.bundle, folder, root=parent.root)
    first = read_lines(folder / LEDGER)[0] if TRAIN in release.inputs else {}
    merged = merged_weights(release.inputs[MERGE].record["config"]) if MERGE in release.inputs else []
    if "parent" in first and config.is_start_shipped and "state_root" not in first["parent"]:
        copy_weights(Path(start["checkpoint"]), folder, sha256=first["parent"]["weights_sha256"])
    elif "parent" in first and config.is_start_shipped:
        target = start_folder(folder, first["parent"]["step"])
        copy_start(Path(start["checkpoint"]), target, state_root=first["parent"]["state_root"])
    if config.is_start_shipped:
        for weights, source in zip(merged, merge_folders(release.resolved.get("merge")), strict=True):
            copy_weights(source, folder, sha256=weights["weights_sha256"])
    lineage = read_lineage(
        folder,
        stages=list(release.inputs),
        merged=merged,
        roots=[parent.root for parent in config.parents],
        first=first,
        base_sha256=str((release.resolved["pack"].get("base") or {}).get("sha256", "")),
        start_license=config.start_license,
        is_start_shipped=config.is_start_shipped,
    )
    write_lineage(folder, lineage)
    return lineage


def _write_code(folder: Path, release: Release) -> None:
    imports = {name: [name, *below] for name, below in MAY_IMPORT.items()}
    write_code(release.code, folder / "code", imports=imports)
    for name, places in {
        LICENSE: (LICENSE, f"LICENSES/{CODE_LICENSE}.txt"),
        LOCK: (f"env/{LOCK}",),
    }.items():
        if name not in release.code:
            raise ConfigError(f"the checkout has no {name}, which a bundle must hold; restore it")
        for place in places:
            _write(folder / place, release.code[name].content)


def _write_config(folder: Path, release: Release) -> None:
    trained = release.trained
    identities = {**trained, "profile": trained["profile"]["asked"]}
    recipe = neutral_recipe(
        release.resolved,
        name=release.name,
        configs={stage: artifact.record["config"] for stage, artifact in release.inputs.items()},
        trained={section: identities[section] for section in TRAIN_SECTIONS if section in identities},
        release=identity(release.config),
    )
    _write(folder / "config" / "recipe.yaml", to_yaml(recipe))
    _write(folder / "config" / "stages.yaml", to_yaml(release.stages))
    _write(folder / "env" / "profile.json", canonical_json(trained["profile"]))


def _record(folder: Path, release: Release) -> Record:
    lines = read_lines(folder / LEDGER) if TRAIN in release.inputs else []
    profile = release.trained["profile"]
    return {
        "format": FORMAT,
        "name": release.name,
        **identity(release.config),
        "contents": {name: meaning for name, (_, _, meaning) in CONTENTS.items()},
        "commands": {"verify": "sh verify.sh", "reproduce": "sh reproduce.sh"},
        "steps": len(lines[1:]),
        "trajectory_head": trajectory_head(lines[1:]) if lines else "",
        "full_head": full_head(lines) if lines else "",
        "data_root": hash_file(folder / "data" / "pack" / "order.json"),
        "weights_sha256": release.inputs[weights_stage(release.inputs)].facts["weights_sha256"],
        "profile_name": profile["asked"]["name"],
        "profile_sha256": hash_value(profile),
        "code_tree": tree_id(release.code),
        "artifacts": {stage: artifact.digest for stage, artifact in release.inputs.items()},
    }


def _write_report(folder: Path, release: Release) -> None:
    """Write README.md, scripts and report, from all that is in the folder by now and the author's words."""
    if release.words:
        _write(folder / WORDS_PATH, release.words)
    bundle = open_bundle(folder)
    for name, content in scripts(bundle).items():
        _write(folder / name, content)
    for name, content in render(bundle).items():
        _write(folder / name, content)


def _write_pages(folder: Path, release: Release, record: Record) -> list[Entry]:
    """Write MANIFEST.md and return the lines of the manifest."""
    entries = list_files(folder, lambda path: _describe(path, release))
    page = manifest_page(
        entries,
        artifacts={stage: artifact.record for stage, artifact in release.inputs.items()},
        digests=record["artifacts"],
        stages=release.stages,
        corpus=json.loads((folder / "data" / "manifest.json").read_bytes()),
    ).encode()
    _write(folder / "MANIFEST.md", page)
    role, license_ = _describe("MANIFEST.md", release)
    own = Entry(path="MANIFEST.md", bytes=len(page), sha256=sha256_hex(page), role=role, license=license_)
    return [*entries, own]


def _write_witness(folder: Path, release: Release, root: str) -> None:
    hosts: dict[str, str] = {}
    for stage, artifact in release.inputs.items():
        for path in sorted((artifact.folder / WITNESS).glob("*.json*")):
            _write(folder / stage / path.name, _without_hosts(path, hosts))
    for name, path in release.outside.items():
        _write(folder / name, _without_hosts(path, hosts))
    for name, content in release.console.items():
        _write(folder / name, content)
    packages = b"".join(canonical_json(package) + b"\n" for package in installed_packages())
    _write(folder / "packages.jsonl", packages)
    _write(folder / "hardware.json", canonical_json(hardware()))
    _write(folder / COST, canonical_json(_cost(folder, release)))
    _write(folder / "release.json", canonical_json({"root": root, **commit_facts(ROOT)}))
    write_manifest(folder, list_files(folder, lambda _: (WITNESS, release.config.license)))


def _cost(folder: Path, release: Release) -> Record:
    events = [event for path in sorted((folder / "train").glob(JOURNALS)) for event in read_journal(path)]
    return told(
        json.loads((folder.parent / COST).read_bytes()),
        account=release.account,
        journals=events,
        hardware=hardware(),
        profile=release.trained["profile"]["asked"],
    )


def _without_hosts(path: Path, hosts: dict[str, str]) -> bytes:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "".join(f"{_without_host(line, hosts)}\n" for line in lines).encode()


def _without_host(line: str, hosts: dict[str, str]) -> str:
    """A journal line with its host replaced by a number; whatever else it is stays as it is."""
    try:
        facts = json.loads(line)
    except ValueError:
        return line
    if not isinstance(facts, dict) or "host" not in facts:
        return line
    facts["host"] = hosts.setdefault(facts["host"], f"host {len(hosts)}")
    return json.dumps(facts, ensure_ascii=False)


def _describe(path: str, release: Release) -> tuple[str, str]:
    return describe(path, sources=release.all_sources, license_of_run=release.config.license, kept=release.kept)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
