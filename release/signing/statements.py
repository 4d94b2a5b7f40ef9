"""What is signed about a bundle: by its maker, of every stage, and by whoever verified it.

Predicates: our own for the release and for a verification; SLSA provenance v1 (slsa.dev/spec/v1.0/provenance) for a
stage. No level of SLSA's build track is claimed: the builder is the maker's own machine. Nothing of the clock or the
machine is in a release or provenance statement, so signing twice gives the same bytes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from release.contents import MERGE, Bundle
from release.ladder import LEVELS
from release.lineage import DIGITS, WEIGHTS, merged_weights
from release.manifest import NAME
from release.signing.dsse import statement
from release.verdict import Finding, Verdict

RELEASE = "urn:wholegrain:release:1"
VERIFICATION = "urn:wholegrain:verification:1"
PROVENANCE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:wholegrain:stage:1"
BUILDER = "urn:wholegrain:builder:self"
SAYS = (
    "whoever holds this key says that the bundle with this root is the release of this name; "
    "not that its content is true, nor when it was made"
)

Digest = dict[str, Any]


def release_statement(bundle: Bundle) -> bytes:
    """The maker's word: this root is this release."""
    names = ("name", "format", "license", "trajectory_head", "full_head", "weights_sha256", "code_tree")
    return statement([_root(bundle)], RELEASE, {"says": SAYS, **{name: bundle.record[name] for name in names}})


def provenance_statement(bundle: Bundle, stage: str) -> bytes:
    """How a stage's artifact came about: subjects are its record and files, dependencies its inputs and the code."""
    artifact = bundle.artifacts[stage]
    files = [{"name": f"{stage}/{entry['path']}", "digest": _sha256(entry["sha256"])} for entry in artifact["files"]]
    record = {"name": f"artifacts/{stage}.json", "digest": _sha256(bundle.digests[stage])}
    described = bundle.stages[stage]
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "command": f"python -m {described['folder']} {described['verb']} config/recipe.yaml",
                "config": artifact["config"],
            },
            "internalParameters": {"key": artifact["key"], "code": artifact["code"]},
            "resolvedDependencies": [
                {"name": "code/repo.bundle", "digest": {"gitTree": bundle.record["code_tree"]}},
                *(
                    {"name": f"artifacts/{name}.json", "digest": _sha256(bundle.digests[name])}
                    for name in artifact["inputs"]
                ),
                *_taken(stage, artifact["config"]),
            ],
        },
        "runDetails": {"builder": {"id": BUILDER}},
    }
    return statement([record, *files], PROVENANCE, predicate)


def _taken(stage: str, config: Mapping[str, Any]) -> list[Digest]:
    """Weights of other models that stage merge took besides the artifacts, by their hash."""
    if stage != MERGE:
        return []
    hashes = [taken["weights_sha256"] for taken in merged_weights(config)]
    return [{"name": f"parents/weights/{one[:DIGITS]}/{WEIGHTS}", "digest": _sha256(one)} for one in hashes]


def verification_statement(
    bundle: Bundle, findings: Iterable[Finding], *, level: str, verifier: Mapping[str, Any], made: str
) -> bytes:
    """A verifier's word: what came out of checking this root at a level, check by check."""
    said = list(findings)
    is_passed = all(finding.verdict is Verdict.PASS for finding in said)
    is_failed = any(finding.verdict is Verdict.FAIL for finding in said)
    predicate = {
        "level": level,
        "claim": LEVELS[level].claim,
        "strength": LEVELS[level].strength,
        "result": "PASSED" if is_passed else "FAILED" if is_failed else "OPEN",
        "checks": [{"check": f.check, "verdict": f.verdict.value, "detail": f.detail} for f in said],
        "verifier": dict(verifier),
        "made": made,
        "nonce": bundle.nonce,
        "segments": bundle.segments,
    }
    return statement([_root(bundle)], VERIFICATION, predicate)


def _root(bundle: Bundle) -> Digest:
    return {"name": NAME, "digest": _sha256(bundle.root)}


def _sha256(digest: str) -> Digest:
    return {"sha256": digest}
