"""Verb judge: the verification of a fresh bundle as a stage of the pipeline, done once and kept as artifact `verify`.

The artifact's verdicts are a function of the bundle and of how this machine answers the numerics profile. What else
can be said, such as the ranks that trained, is kept as witness in `report.txt`; a FAIL is shown and not kept.
"""

import sys
from pathlib import Path
from typing import Any

from core.artifact import WITNESS, Artifact, build, current, plan, verify_files
from core.cli import recipe_and_overrides
from core.codetree import ROOT
from core.config import RunConfig, identity, load
from core.hashing import hash_value
from release.config import ReleaseConfig
from release.contents import open_bundle
from release.stage import ask_fingerprint
from release.verdict import Verdict, conclude
from release.verify import verify

STAGE = "verify"
REPORT = "report.txt"


def main(arguments: list[str]) -> None:
    """Run the verb: make or find the verdicts, and write the artifact's folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m release judge")
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "release", ReleaseConfig, overrides)
    bundle = current(run.inputs_folder, "bundle")
    # Verdicts that are found are about these very bytes.
    verify_files(bundle)
    answers = hash_value(ask_fingerprint(ROOT, recipe, *overrides))
    decided = {**identity(config), "machine_answers": answers}
    wanted = plan(STAGE, folder="release", out=run.out_folder, config=decided, inputs={"bundle": bundle})
    artifact = build(wanted, lambda aside: write_verdicts(aside, bundle))
    sys.stdout.write(f"{artifact.folder}\n")


def write_verdicts(aside: Path, artifact: Artifact) -> dict[str, Any]:
    """Verify a bundle; returns the artifact's facts. Raises DataError, and so keeps nothing, if a verdict is FAIL."""
    bundle = open_bundle(artifact.folder / artifact.facts["bundle"])
    bundle.expected_root = artifact.facts["root"]
    findings = list(verify(bundle))
    report = "".join(f"{finding}\n" for finding in findings)
    if any(finding.verdict is Verdict.FAIL for finding in findings):
        sys.stdout.write(report)
        conclude(findings, subject=str(bundle.folder))
    (aside / WITNESS).mkdir(exist_ok=True)
    (aside / WITNESS / REPORT).write_text(report, encoding="utf-8")
    verdicts = [
        {"check": finding.check, "verdict": finding.verdict.value, "detail": finding.detail} for finding in findings
    ]
    passed = sum(finding.verdict is Verdict.PASS for finding in findings)
    return {
        "came_in": f"bundle with root {bundle.root[:12]}",
        "went_out": f"{passed} of {len(findings)} checks PASS",
        "root": bundle.root,
        "verdicts": verdicts,
    }
