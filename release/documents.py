"""The parts of a bundle that people read, and its two scripts: pure functions of what else is in the bundle."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from core.hashing import hash_value
from release.layout import CODE_LICENSE, CONTENTS
from release.lineage import ancestors
from release.manifest import Entry

SCRIPT = """\
#!/bin/sh
# {what}
# Needs Python 3.11, pip and git. Runs the bundle's own code; writes beside the bundle, nothing into it.
# PYTHON names another interpreter, WORK another folder to work in. Arguments go to the verb.
set -eu
bundle=$(cd "$(dirname "$0")" && pwd)
work=${{WORK:-$bundle-work}}
mkdir -p "$work"
[ -d "$work/code" ] || git -c core.autocrlf=false clone -q "$bundle/code/repo.bundle" "$work/code"
if [ ! -e "$work/venv/.ready" ]; then
    "${{PYTHON:-python3.11}}" -m venv --clear "$work/venv"
    "$work/venv/bin/pip" install -q --require-hashes -r "$bundle/env/requirements.lock" || {{
        echo "error: pip could not install env/requirements.lock as it is; see its first lines" >&2
        exit 64
    }}
    touch "$work/venv/.ready"
fi
cd "$work/code"
exec "$work/venv/bin/python" -m release {verb} "$bundle"{options} "$@"
"""

VERIFY = SCRIPT.format(
    what="Checks this bundle: hashes, chains, data order, and one random segment of training replayed.",
    verb="verify",
    options="",
)
REPRODUCE = SCRIPT.format(
    what="Redoes everything in this bundle from the sources and compares it bit by bit.",
    verb="reproduce",
    options=' --runs "$work/reproduced"',
)


def readme(
    record: Mapping[str, Any],
    *,
    facts: Mapping[str, Mapping[str, Any]],
    sources: Mapping[str, str],
    lineage: Mapping[str, Any],
) -> str:
    """README.md from bundle.json, the stages' facts, the sources' licences and lineage.json."""
    rows = [(stage, said["came_in"], said["went_out"]) for stage, said in facts.items()]
    return f"""\
# {record["name"]}

{_said(record)}the numerics profile is `{record["profile_name"]}`.

{_table(("stage", "came in", "went out"), rows)}
| head | SHA-256 |
|---|---|
{_heads(record)}| data root | `{record["data_root"]}` |
| weights of the {_last(facts)} | `{record["weights_sha256"]}` |

The bundle's root is the SHA-256 of `MANIFEST.jsonl`: `sha256sum MANIFEST.jsonl`. It covers every file but those in
`witness/`, which holds what the clock and the machine decided and has a manifest of its own.

## Verify
`sh verify.sh` (or `python -m release verify BUNDLE` in a checkout; `--root HEX` to name the root that you expect).
It hashes every file, follows the chain of artifacts and the ledger's, computes the data order again, holds the
checkpoints against the ledger and the published weights against the last checkpoint, and replays one segment of the
training, drawn from the root, on one process. Bits are only comparable under the same numerics profile
(`env/profile.json`); elsewhere the replay is inconclusive, not failed. The replay runs code: the bundle's own, unless
the checkout's is the same. Read it, or run it where it can do no harm.

## Reproduce
`sh reproduce.sh` redoes everything from the sources, in a folder beside this one, and compares: the same recipe under
the same profile gives the same root, on however many processes, however often interrupted.

## Licences
Code: {CODE_LICENSE}. What the run made: {record["license"]}. The text that it was made from:

{_table(("source", "licence"), sorted(sources.items()))}
What each source's licence rests on is in `data/sources.json` and `data/evidence/`; `data/CARD.md` describes the text.
{_origins(lineage)}
## What no verification here can show
That the sources' licences are as stated; that no other runs were tried and hidden; when the run was made; that the
packages in `env/requirements.lock` are honest.
"""


def _said(record: Mapping[str, Any]) -> str:
    if not record["steps"]:
        return (
            "A released model that was merged of others: what was merged and how, the text that it is scored on with "
            "its\nsources, final weights, scores, code and environment, closed under hashes. Nothing was trained; "
        )
    return (
        "A released training run: sources, data order, every step's numbers, checkpoints, final weights, scores, code "
        f"and\nenvironment, closed under hashes. {record['steps']} steps; "
    )


def _heads(record: Mapping[str, Any]) -> str:
    if not record["steps"]:
        return ""
    return (
        f"| trajectory head (the numbers alone) | `{record['trajectory_head']}` |\n"
        f"| full head (binds code, configuration, data and profile) | `{record['full_head']}` |\n"
    )


def _last(facts: Mapping[str, Any]) -> str:
    """What the published weights are: those of the last stage that made some."""
    return "quantized model" if "quantize" in facts else "merged model" if "merge" in facts else "last checkpoint"


def _origins(lineage: Mapping[str, Any]) -> str:
    """The section on the runs that a run comes from; nothing if it comes from none."""
    start, parents = lineage["start"], list(ancestors(lineage))
    if not start and not parents and not lineage["merged"]:
        return ""
    said = (
        "It begins with initial weights." if lineage["kinds"][0] != "merge" else "It was merged of weights of others."
    )
    if start:
        of = (
            f"step {start['step']} of another run, state root `{start['state_root']}`"
            if "state_root" in start
            else f"those with SHA-256 `{start['weights_sha256']}`"
        )
        taken = "were taken from" if "takes" in start else "go on from"
        said = f"Its weights {taken} {of}"
        said += f" (licence {start['license']})."
    rows = [
        (
            f"`{parent['root']}`",
            parent["name"],
            ", ".join(parent["relations"]),
            parent["license"],
            ", ".join(f"{name} ({license_})" for name, license_ in sorted(parent["sources"].items())),
        )
        for parent in parents
    ]
    return f"""
## Where it comes from
{said} `lineage.json` says so for machines; `parents/` holds the ledgers of those runs, and their sources with evidence.

{_table(("root of the bundle", "name", "what comes from it", "licence", "its sources"), rows)}"""


def manifest_page(
    entries: Iterable[Entry],
    *,
    artifacts: Mapping[str, Mapping[str, Any]],
    digests: Mapping[str, str],
    stages: Mapping[str, Mapping[str, Any]],
    corpus: Mapping[str, Any],
) -> str:
    """MANIFEST.md: what is inside, stage by stage and folder by folder, with licences, hashes, and how it is redone.

    `corpus` is the corpus's manifest, data/manifest.json.
    """
    made = [
        (stage, f"`{digests[stage]}`", _files(artifacts[stage]["files"]), f"`{_command(stages[stage])}`")
        for stage in artifacts
    ]
    return f"""\
# What is in this bundle

## Artifacts
In the order in which they are made. The digest is the SHA-256 of the stage's `artifact.json` (here
`artifacts/<stage>.json`), which lists every file with its hash and names its inputs by digest. The command redoes the
stage, in a clone of `code/repo.bundle`; `sh reproduce.sh` redoes them all and compares.

{_table(("stage", "digest", "files", "redone by"), made)}
{_data(corpus)}
## Files
By folder; file by file in `MANIFEST.jsonl`. The hash is over the folder's lines there.

{_table(("what", "holds", "files", "licence", "hash"), _folders(list(entries)))}"""


def _data(corpus: Mapping[str, Any]) -> str:
    """What the corpus is made of, from its manifest."""
    cleaned = corpus["cleaning"]["sources"]
    rows = [
        (
            source["name"],
            f"`{source['locator']}`",
            source["license"],
            *(str(cleaned[source["name"]][split]["documents"]) for split in ("in", "train", "heldout", "dropped")),
        )
        for source in corpus["sources"]
    ]
    reasons = corpus["cleaning"]["total"]["dropped"]["reasons"]
    dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items())) or "nothing"
    tokens = sum(source["tokens"] for source in corpus["order"]["sources"])
    return f"""\
## Data
The corpus with root `{corpus["roots"]["corpus"]}`: {len(corpus["shards"])} shards of {tokens} tokens. `data/CARD.md`
describes it, `data/manifest.json` lists everything, `python -m data verify BUNDLE` checks it and `python -m data
rebuild BUNDLE/data/manifest.json` makes it again. Documents by source:

{_table(("source", "what it is", "licence", "came in", "to train on", "held out", "dropped"), rows)}
Dropped: {dropped}.
"""


def _folders(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, (_, _, meaning) in CONTENTS.items():
        inside = [entry for entry in entries if PurePosixPath(entry.path).parts[0] == name]
        if inside:
            licenses = ", ".join(sorted({entry.license for entry in inside}))
            content = hash_value([[entry.path, entry.sha256] for entry in inside])
            size = f"{len(inside)}, {sum(entry.bytes for entry in inside)} bytes"
            rows.append((f"`{name}`", meaning, size, licenses, f"`{content[:16]}`"))
    return rows


def _files(files: Sequence[Mapping[str, Any]]) -> str:
    return f"{len(files)}, {sum(entry['bytes'] for entry in files)} bytes"


def _command(stage: Mapping[str, Any]) -> str:
    return f"python -m {stage['folder']} {stage['verb']} BUNDLE/config/recipe.yaml"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
