"""Verb reproduce: redoes a bundle from its sources, with its own code, and judges whether the same came out.

Reads a bundle that may have been copied anywhere. Writes `<runs>/code`, `<runs>/cache` and `<runs>/run`, by default
below `<bundle>-reproduced`; a second call goes on with them. Compares the ledger, the weights of every checkpoint and
of the export, the evaluation, and at last the root.

PASS: all equal. FAIL: something differs although this machine answers the numerics profile as the bundle's did.
INCONCLUSIVE: something differs and so does the profile. Exit codes as in verdict.py.
"""

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from core.arguments import Parser
from core.artifact import current
from core.errors import ConfigError, DataError, DeterministicError, ProjectError, RetryError
from core.ledger import first_difference
from core.notes import DIE_WITH_PARENT
from release.checks import PUBLISHED
from release.code import clone
from release.contents import Bundle, Record, open_bundle
from release.diff import checkpoint_difference, origin_difference, say
from release.lineage import WEIGHTS, find_weights, parent_folder, say_start, weights_folder
from release.manifest import read_manifest
from release.openness.facts import WORDS_PATH
from release.recipe import FILES, file_sources
from release.stage import ask_fingerprint, first_value
from release.verdict import Finding, InconclusiveError, Verdict, conclude
from release.verify import CHECKS, judge
from release.weights import first_different_tensor

DEFAULT_RANKS = 2
# What data/ copies of a parent's mixture into the child's pack, beside its shards, and the tokenizer it went by.
PARENT_ORDER, TOKENIZER = "parent-order.json", "tokenizer/tokenizer.model"
FAILURES: dict[int, type[ProjectError]] = {64: InconclusiveError, 65: DeterministicError, 66: DataError}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a reproduction works, where it finds sources that are files, and how many ranks train at most."""

    runs: Path
    files: Path
    ranks: int


def main(arguments: list[str]) -> None:
    """Run the verb: one line a comparison. Raises DataError on FAIL, InconclusiveError on INCONCLUSIVE."""
    parser = Parser("python -m release reproduce BUNDLE [--runs DIR] [--files DIR] [--ranks N] [--parent DIR]")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--files", type=Path, default=Path(FILES))
    parser.add_argument("--ranks", type=int, default=DEFAULT_RANKS)
    parser.add_argument("--parent", type=Path, default=Path())
    given = parser.parse_args(arguments)
    bundle = open_bundle(given.bundle)
    bundle.parent = given.parent.resolve() if given.parent != Path() else Path()
    runs = given.runs or bundle.folder.with_name(f"{bundle.folder.name}-reproduced")
    if runs.resolve().is_relative_to(bundle.folder):
        raise ConfigError(f"--runs {runs} lies in the bundle, which must stay as it is; name a folder beside it")
    place = Place(runs=runs.resolve(), files=given.files.resolve(), ranks=given.ranks)
    findings = []
    for finding in reproduce(bundle, place):
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()
        findings.append(finding)
    conclude(findings, subject=str(given.bundle))


def reproduce(bundle: Bundle, place: Place) -> Iterator[Finding]:
    """Redo a bundle and yield the findings. Stops after the first if the bundle is damaged: then there is nothing to
    redo."""
    whole = judge(CHECKS[0], bundle)
    yield whole
    if whole.verdict is Verdict.FAIL:
        return
    recipe = prepare(bundle, place)
    code = place.runs / "code"
    sys.stderr.write(f"redoing {bundle.record['name']} in {place.runs}\n")
    clone(bundle.folder / "code", code)
    profile = first_value(bundle.trained["profile"], ask_fingerprint(code, recipe))
    same = "this machine answers the numerics profile as the bundle's did"
    said = (
        f"this machine answers it in another way ({profile}), so a difference would prove nothing; release "
        "compare-seeds gives a weaker verdict"
        if profile
        else same
    )
    yield Finding(check="profile", verdict=Verdict.PASS, detail=said)
    launch(code, recipe, place)
    redone = _redone(place.runs / "run")
    yield from compare(bundle, redone, profile=profile)


def prepare(bundle: Bundle, place: Place) -> Path:
    """Write the recipe that redoes the bundle: the bundle's, with this machine's paths.

    Raises ConfigError if a source is files that are not there, or the parent's checkpoint is missing.
    """
    recipe = copy.deepcopy(bundle.recipe)
    for index, path in file_sources(recipe).items():
        below = path.relative_to(FILES).as_posix()
        there = place.files / below
        if not any(place.files.glob(below)):
            raise ConfigError(
                f"source {recipe['sources']['items'][index]['name']} is files, which a bundle does not hold; put them "
                f"at {there}, or name with --files the folder that holds {below}"
            )
        recipe["sources"]["items"][index]["path"] = str(there)
    _place_parents(recipe, bundle)
    recipe["sources"]["cache"] = str(place.runs / "cache")
    recipe["run"]["out"] = str(place.runs / "run")
    most = bundle.trained["train"]["micro_batches"] if bundle.is_trained else 1
    recipe["launch"] = {"ranks": min(place.ranks, most), "kill_at_step": 0}
    if (bundle.folder / WORDS_PATH).is_file():
        recipe["release"]["words"] = str(bundle.folder / WORDS_PATH)
    place.runs.mkdir(parents=True, exist_ok=True)
    path = place.runs / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    return path


def _place_parents(recipe: Record, bundle: Bundle) -> None:
    """Say where what the run took from its parents lies: all of it in the bundle, but maybe the checkpoint."""
    for parent in recipe["release"].get("parents", []):
        parent["bundle"] = str(parent_folder(bundle.folder, parent["root"]))
    for source in _taken_weights(recipe):
        inside = weights_folder(bundle.folder, source["weights_sha256"])
        if not inside.is_dir() and bundle.parent == Path():
            raise ConfigError(
                f"merged were weights with SHA-256 {source['weights_sha256']}, which are not in the bundle; give a "
                "folder that holds them with --parent"
            )
        source["folder"] = str(inside if inside.is_dir() else _folder_of(bundle.parent, source["weights_sha256"]))
    if bundle.has_start:
        if not (bundle.start / WEIGHTS).is_file():
            raise ConfigError(
                f"the run {say_start(bundle.ledger[0]['parent'])}, which is not in the bundle; "
                "give --parent with the checkpoint's folder, or the parent's bundle"
            )
        recipe["train"]["start"]["checkpoint"] = str(bundle.start)
    if recipe["pack"].get("base"):
        recipe["pack"]["base"]["order"] = str(bundle.pack / PARENT_ORDER)
    if recipe["tokenizer"].get("sha256"):
        recipe["tokenizer"]["model"] = str(bundle.folder / TOKENIZER)


def _taken_weights(recipe: Record) -> list[Record]:
    """The entries of section `merge` that name weights of others."""
    section = recipe.get("merge") or {"models": []}
    return [one for one in [*(section.get("base") or []), *section["models"]] if one.get("weights_sha256")]


def _folder_of(parent: Path, sha256: str) -> Path:
    found = find_weights(parent, sha256)
    if found is None:
        raise ConfigError(f"{parent} holds no {WEIGHTS} with SHA-256 {sha256}, which was merged; name another folder")
    return found.parent


def launch(code: Path, recipe: Path, place: Place) -> None:
    """Walk all stages with the bundle's code; what they say goes to standard error.

    Raises InconclusiveError if this machine or installation does not suit, else the launcher's failure as an error of
    the same exit code.
    """
    command = [sys.executable, "-m", "launch", "run", str(recipe)]
    environment = {**os.environ, DIE_WITH_PARENT: str(os.getpid())}
    done = subprocess.run(command, cwd=code, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        raise FAILURES.get(done.returncode, RetryError)(
            f"the run that redoes the bundle ended with exit code {done.returncode}, for the reason above; "
            f"the same command goes on in {place.runs}"
        )


def compare(bundle: Bundle, redone: Bundle, *, profile: str) -> Iterator[Finding]:
    """Findings on the ledger, the weights, the evaluation and the root; `profile` says how this machine differs."""
    difference = first_difference(bundle.steps, redone.steps)
    head = f", trajectory head {bundle.record['trajectory_head']}" if bundle.is_trained else ": nothing was trained"
    steps = f"all {len(bundle.steps)} steps equal{head}"
    tensors = "every tensor of every checkpoint and of the export equal"
    findings = [
        _finding("ledger", profile, say(difference) if difference else "", equal=steps),
        _finding("weights", profile, _weights_difference(bundle, redone), equal=tensors),
        _finding(
            "evaluation", profile, file_difference(bundle, redone, below="eval/"), equal="scores and samples equal"
        ),
    ]
    yield from findings
    if profile:
        # The root names the profile, so it must be another one even where all that was computed is equal.
        verdict = max((finding.verdict for finding in findings), key=lambda verdict: verdict is not Verdict.PASS)
        named = origin_difference(bundle.ledger[0], redone.ledger[0]) if bundle.is_trained else profile
        yield Finding(check="root", verdict=verdict, detail=f"not comparable, since it names the profile: {named}")
        return
    roots = "" if bundle.root == redone.root else f"{file_difference(bundle, redone)}; root {redone.root}"
    yield _finding("root", "", roots, equal=bundle.root)


def file_difference(bundle: Bundle, redone: Bundle, *, below: str = "") -> str:
    """The first file, by the manifests, that only one bundle holds or that differs; or an empty string."""
    ours, theirs = (
        {entry.path: entry.sha256 for entry in read_manifest(one.folder) if entry.path.startswith(below)}
        for one in (bundle, redone)
    )
    for path in sorted(ours.keys() | theirs.keys()):
        if ours.get(path) != theirs.get(path):
            return f"first differing file: {path}, {ours.get(path)} against {theirs.get(path)}"
    return ""


def _weights_difference(bundle: Bundle, redone: Bundle) -> str:
    missing = sorted(bundle.checkpoints.keys() ^ redone.checkpoints.keys())
    if missing:
        return f"only one side has the checkpoint of step {missing[0]}"
    said = checkpoint_difference(bundle.folder / "checkpoints", redone.folder / "checkpoints")
    exported = first_different_tensor(bundle.folder / PUBLISHED, redone.folder / PUBLISHED)
    return said or (f"{PUBLISHED}: {exported}" if exported else "")


def _redone(out: Path) -> Bundle:
    artifact = current(out, "bundle")
    return open_bundle(artifact.folder / artifact.facts["bundle"])


def _finding(check: str, profile: str, difference: str, *, equal: str) -> Finding:
    """PASS if there is no difference; else FAIL, or INCONCLUSIVE where the profile may be the cause."""
    if not difference:
        return Finding(check=check, verdict=Verdict.PASS, detail=equal)
    if profile:
        return Finding(
            check=check, verdict=Verdict.INCONCLUSIVE, detail=f"{difference}; the profile differs: {profile}"
        )
    return Finding(check=check, verdict=Verdict.FAIL, detail=difference)
