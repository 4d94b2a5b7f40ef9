"""The check of a bundle's form: every part there, under the licence and role that follow from what it is."""

from core.errors import DataError
from core.hashing import hash_file
from release.code import read_tree
from release.contents import Bundle
from release.cost import COST
from release.layout import CODE_LICENSE, CONTENTS, describe, shipped
from release.lineage import LINEAGE, inherited_sources, kept_licenses
from release.manifest import read_manifest
from release.openness.licences import is_readable
from release.openness.render import FOLDER

# Files that are copies of the code's, by their place in the bundle.
COPIES = {
    "LICENSE": "LICENSE",
    f"LICENSES/{CODE_LICENSE}.txt": "LICENSE",
    "env/requirements.lock": "requirements.lock",
}
# What only some bundles have: those of runs that come from another, and those of runs that train.
OPTIONAL = ("parents",)
OF_TRAINING = ("checkpoints",)
# Files that no stage made.
MADE = (
    *("bundle.json", "code/repo.bundle", "code/tree.json", "config/recipe.yaml", "config/stages.yaml"),
    *("env/profile.json", "MANIFEST.md", "README.md", "reproduce.sh", "verify.sh", COST, LINEAGE),
)


def form(bundle: Bundle) -> str:
    """Every part that a bundle has is there; roles and licences in the manifest are those of the parts.

    Raises DataError naming the first part that is missing, or entry that says something else.
    """
    entries = read_manifest(bundle.folder)
    tops = {entry.path.partition("/")[0] for entry in entries}
    optional = OPTIONAL if bundle.is_trained else (*OPTIONAL, *OF_TRAINING)
    missing = next((name for name in CONTENTS if name not in tops and name not in optional), "")
    if missing:
        raise DataError(f"{missing} is missing: {CONTENTS[missing][2]}")
    strange = next((entry.path for entry in entries if entry.path.partition("/")[0] not in CONTENTS), "")
    if strange:
        raise DataError(f"{strange} is in no folder that a bundle has")
    lineage = bundle.read_json(LINEAGE)
    own = {source["name"]: source["license"] for source in bundle.read_json("data/manifest.json")["sources"]}
    sources, kept = inherited_sources(lineage) | own, kept_licenses(bundle.folder, lineage)
    for entry in entries:
        role, licence = describe(entry.path, sources=sources, license_of_run=bundle.record["license"], kept=kept)
        if (entry.role, entry.license) != (role, licence):
            raise DataError(
                f"{entry.path} stands in the manifest as {entry.role} under {entry.license}; "
                f"{role} under {licence} follows from the rest of the bundle"
            )
        if not is_readable(entry.license):
            raise DataError(f"{entry.path} is under {entry.license!r}, which is no licence expression")
    known = accounted(bundle) | kept.keys()
    added = next((e.path for e in entries if e.path not in known and not e.path.startswith(f"{FOLDER}/")), "")
    if added:
        raise DataError(f"{added} was made by no stage, and no bundle has it")
    hashes = read_tree(bundle.folder / "code")["sha256"]
    other = next((place for place, name in COPIES.items() if hash_file(bundle.folder / place) != hashes.get(name)), "")
    if other:
        raise DataError(f"{other} is not the {COPIES[other]} of the code in the bundle")
    return f"{len(entries)} files in {len(tops)} parts, each with the role and licence of its part"


def accounted(bundle: Bundle) -> set[str]:
    """Every path that a bundle may have but for its report: what its stages made, their records, and the rest."""
    every = bundle.record["checkpoint_every_steps"]
    made = {
        place
        for stage, artifact in bundle.artifacts.items()
        for place in shipped(stage, [entry["path"] for entry in artifact["files"]], every=every).values()
    }
    return made | {f"artifacts/{stage}.json" for stage in bundle.artifacts} | {*COPIES, *MADE}
