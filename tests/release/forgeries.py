"""Forgeries of a bundle, each with a new manifest so that its hashes fit, and the checks that must see through it.

A forgery without a new manifest is caught by check `integrity` whatever it is; with the maker's key or a root from
elsewhere, a new manifest is of no use either. So this table is about liars who make the bundle themselves.
"""

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.hashing import canonical_json
from release.contents import open_bundle
from release.openness.facts import WORDS_PATH
from release.openness.render import render
from tests.release.forgery import LEDGER, edit_json, edit_ledger, flip_bit, make_consistent
from tests.release.openness.made import TEXT

# Sixty lists, each of two of the one before.
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
FIRST, LAST = "checkpoints/step-000004", "checkpoints/step-000012"
HEX = "0" * 64
MADE_UP = {"step": 4, "ledger_head": HEX, "state_root": HEX, "license": "MIT", "is_shipped": False}


@dataclass(frozen=True)
class Forgery:
    """What is done to a bundle's folder, and checks that must fail then, the manifest being made anew."""

    name: str
    do: Callable[[Path], object]
    caught_by: str


def replace_text(folder: Path, name: str, old: str, new: str) -> None:
    """Replace a text in a file, where it must stand."""
    text = (folder / name).read_text()
    assert old in text, (name, old)
    (folder / name).write_text(text.replace(old, new))


def swap(folder: Path, one: str, other: str) -> None:
    """Let two files or folders change places."""
    (folder / one).rename(folder / "aside")
    (folder / other).rename(folder / one)
    (folder / "aside").rename(folder / other)


def nudge(path: Path, *, by: float = 1e-7) -> Path:
    """Move the last fp32 weight of a file a little."""
    content = bytearray(path.read_bytes())
    (value,) = struct.unpack("<f", content[-4:])
    content[-4:] = struct.pack("<f", value + by)
    path.write_bytes(content)
    return path


def edit_rows(folder: Path, name: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of a file."""
    (folder / name).write_bytes(b"".join(change((folder / name).read_bytes().splitlines(keepends=True))))


def edit_manifest_row(folder: Path, path: str, **changes: str) -> None:
    """Change what the manifest says of a file; the digest stays right."""
    rows = [json.loads(line) for line in (folder / "MANIFEST.jsonl").read_bytes().splitlines()]
    rows = [{**row, **changes} if row["path"] == path else row for row in rows]
    (folder / "MANIFEST.jsonl").write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))


def nested(folder: Path, name: str, *keys: str | int, value: object) -> None:
    """Change one value deep in a JSON file."""
    record = json.loads((folder / name).read_bytes())
    place = record
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (folder / name).write_bytes(canonical_json(record))


def rerender(folder: Path) -> None:
    """Make the report anew, as it follows from a forged bundle."""
    for name, content in render(open_bundle(folder)).items():
        (folder / name).write_bytes(content)


def claim(folder: Path) -> None:
    """Write words that claim too much."""
    (folder / WORDS_PATH).write_text(f"{TEXT}\n## Data\nA truly open source model.\n")


def refitted(do: Callable[[Path], object]) -> Callable[[Path], object]:
    """A forgery after which every hash that names a ledger or a checkpoint is made to fit."""

    def forge(folder: Path) -> None:
        do(folder)
        make_consistent(folder)

    return forge


def flip(name: str) -> Callable[[Path], object]:
    """A forgery that changes one bit of a file."""
    return lambda folder: flip_bit(folder / name)


def set_json(path: str, /, **changes: object) -> Callable[[Path], object]:
    """A forgery that changes fields of a JSON file."""
    return lambda folder: edit_json(folder / path, **changes)


def remove(name: str) -> Callable[[Path], object]:
    """A forgery that takes a file or folder away."""
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def add(name: str, content: str = "x") -> Callable[[Path], object]:
    """A forgery that adds a file."""

    def forge(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)

    return forge


FORGERIES = [
    # One bit in every role of file.
    Forgery("bit in README", flip("README.md"), "report"),
    Forgery("bit in the licence text", flip("LICENSES/Apache-2.0.txt"), "form"),
    Forgery("bit in the licence of the code", flip("LICENSE"), "form"),
    Forgery("bit in a stage's record", flip("artifacts/pack.json"), "chain"),
    Forgery("bit in the code", flip("code/repo.bundle"), "code"),
    Forgery("bit in the recipe", lambda f: replace_text(f, "config/recipe.yaml", "seed: 1", "seed: 2"), "chain"),
    Forgery("bit in a shard", flip("data/pack/alpha-00000.bin"), "chain"),
    Forgery("bit in a shard's index", flip("data/pack/alpha-00000.idx"), "chain"),
    Forgery("bit in a shard's keys", flip("data/pack/beta-00000.keys"), "chain"),
    Forgery("bit in the held-out texts", flip("data/heldout/alpha.jsonl"), "chain"),
    Forgery("bit in the data order", flip("data/pack/order.json"), "chain ledger"),
    Forgery("bit in the tokenizer", flip("tokenizer/tokenizer.model"), "chain alive"),
    Forgery(
        "bit in the published weights",
        lambda f: flip_bit(f / "weights/final/model.safetensors", at=-1),
        "chain weights",
    ),
    Forgery("bit in an optimizer state", flip(f"{FIRST}/optimizer.safetensors"), "chain checkpoints"),
    Forgery("bit in a checkpoint's weights", flip(f"{FIRST}/model.safetensors"), "chain checkpoints"),
    Forgery("bit in the lock", flip("env/requirements.lock"), "form"),
    Forgery("bit in the profile", flip("env/profile.json"), "ledger"),
    Forgery("bit in the scores", flip("eval/results.json"), "chain"),
    Forgery("bit in the samples", flip("eval/samples.jsonl"), "chain"),
    Forgery("bit in verify.sh", flip("verify.sh"), "report"),
    Forgery("bit in reproduce.sh", flip("reproduce.sh"), "report"),
    Forgery("bit in the page", flip("report/index.html"), "report"),
    Forgery("bit in the data card", flip("data/CARD.md"), "chain"),
    # Files added, removed, swapped, renamed.
    Forgery("weights removed", remove("weights"), "form alive chain"),
    Forgery("a checkpoint removed", remove(FIRST), "chain"),
    Forgery("the last checkpoint removed", remove(LAST), "chain checkpoints weights"),
    Forgery("the ledger removed", remove("logs/ledger.jsonl"), "form ledger checkpoints"),
    Forgery("the report removed", remove("report"), "form report"),
    Forgery("a shard removed", remove("data/pack/beta-00000.bin"), "chain"),
    Forgery("the code removed", remove("code/repo.bundle"), "code"),
    Forgery("evidence for licences removed", remove("data/sources.json"), "chain"),
    Forgery("a program added to the weights", add("weights/final/modeling.py"), "alive"),
    Forgery("a pickle added to the weights", add("weights/final/pytorch_model.bin"), "alive"),
    Forgery("a folder added", add("extra/x"), "form"),
    Forgery("a badge added to the report", add("report/badge.svg", "<svg/>"), "report"),
    Forgery("checkpoints swapped", lambda f: swap(f, FIRST, "checkpoints/step-000008"), "chain checkpoints"),
    Forgery(
        "optimizer state of another step",
        lambda f: swap(f, f"{FIRST}/optimizer.safetensors", f"{LAST}/optimizer.safetensors"),
        "chain checkpoints",
    ),
    Forgery("shards swapped", lambda f: swap(f, "data/pack/alpha-00000.bin", "data/pack/beta-00000.bin"), "chain"),
    Forgery(
        "a shard renamed", lambda f: (f / "data/pack/beta-00000.bin").rename(f / "data/pack/gamma-00000.bin"), "chain"
    ),
    # The ledger.
    Forgery(
        "learning rate edited", lambda f: edit_ledger(f, step=6, is_chained=False, lr="0x1.0p-7"), "ledger checkpoints"
    ),
    Forgery(
        "loss edited, chained anew",
        lambda f: edit_ledger(f, step=6, loss="0x1.0p+1"),
        "chain ledger checkpoints witness",
    ),
    Forgery(
        "gradient norm edited, chained anew",
        lambda f: edit_ledger(f, step=3, norm="0x1.0p+1"),
        "chain ledger checkpoints",
    ),
    Forgery(
        "tokens inflated, chained anew", lambda f: edit_ledger(f, step=12, tokens=10**9), "chain ledger checkpoints"
    ),
    Forgery("profile of another machine", lambda f: edit_ledger(f, step=0, profile=HEX), "chain ledger checkpoints"),
    Forgery("other data root", lambda f: edit_ledger(f, step=0, data=HEX), "chain ledger checkpoints"),
    Forgery("other code", lambda f: edit_ledger(f, step=0, code=HEX), "chain ledger checkpoints"),
    Forgery(
        "last step cut off", lambda f: edit_rows(f, LEDGER, lambda rows: rows[:-1]), "chain ledger checkpoints weights"
    ),
    Forgery(
        "a step left out", lambda f: edit_rows(f, LEDGER, lambda rows: [*rows[:5], *rows[6:]]), "ledger checkpoints"
    ),
    Forgery(
        "two steps swapped",
        lambda f: edit_rows(f, LEDGER, lambda rows: [*rows[:5], rows[6], rows[5], *rows[7:]]),
        "ledger checkpoints",
    ),
    # Weights and states, with every hash that names them made to fit.
    Forgery(
        "last weights moved by 1e-7",
        refitted(lambda f: nudge(f / LAST / "model.safetensors")),
        "checkpoints",
    ),
    Forgery(
        "optimizer state moved by 1e-7",
        refitted(lambda f: nudge(f / FIRST / "optimizer.safetensors")),
        "checkpoints",
    ),
    Forgery("published weights moved by 1e-7", lambda f: nudge(f / "weights/final/model.safetensors"), "chain weights"),
    Forgery(
        "segment skipped: a checkpoint copied",
        refitted(lambda f: shutil.copy(f / FIRST / "model.safetensors", f / "checkpoints/step-000008")),
        "checkpoints",
    ),
    Forgery(
        "earlier weights published",
        lambda f: shutil.copy(f / FIRST / "model.safetensors", f / "weights/final"),
        "alive chain weights",
    ),
    Forgery(
        "weights of another run in a checkpoint",
        refitted(lambda f: nudge(f / FIRST / "model.safetensors", by=1.0)),
        "checkpoints",
    ),
    # What is published beside the weights.
    Forgery("another tokenizer published", lambda f: flip_bit(f / "weights/final/tokenizer.model"), "alive chain"),
    Forgery("fewer layers stated", set_json("weights/final/config.json", num_hidden_layers=1), "alive chain"),
    Forgery("another rope_theta stated", set_json("weights/final/config.json", rope_theta=500000.0), "alive chain"),
    Forgery("code to run stated", set_json("weights/final/config.json", auto_map={"AutoModel": "x.y"}), "alive chain"),
    Forgery("another chat template", add("weights/final/chat_template.jinja", "{{ x }}"), "form"),
    Forgery(
        "scores of another model",
        lambda f: nested(f, "eval/results.json", "total", "bits_per_byte", value=0.5),
        "chain",
    ),
    # Licences and openness.
    Forgery("licence of the weights changed", set_json("bundle.json", license="MIT"), "form report"),
    Forgery(
        "licence of a file changed",
        lambda f: edit_manifest_row(f, "weights/final/model.safetensors", license="MIT"),
        "form",
    ),
    Forgery("role of a file changed", lambda f: edit_manifest_row(f, "eval/samples.jsonl", role="document"), "form"),
    Forgery(
        "licence of a source changed",
        lambda f: nested(f, "data/sources.json", 0, "license", value="MIT"),
        "chain report",
    ),
    Forgery("a start from another run made up", set_json("lineage.json", start=MADE_UP), "lineage report"),
    Forgery("a parent in the record made up", set_json("bundle.json", parents=[{"root": HEX}]), "lineage"),
    Forgery("grade raised", lambda f: nested(f, "report/openness.json", "mof", "class", value=1), "report"),
    Forgery("the name of the OSI claimed", claim, "report"),
    Forgery("words written without a new report", lambda f: (f / WORDS_PATH).write_text(TEXT), "report"),
    Forgery("name of the release changed", set_json("bundle.json", name="other"), "chain report"),
    Forgery("heads changed", set_json("bundle.json", trajectory_head=HEX), "ledger report"),
    # Records.
    Forgery(
        "an input of a stage changed", lambda f: nested(f, "artifacts/pack.json", "inputs", "clean", value=HEX), "chain"
    ),
    Forgery(
        "a stage's configuration changed",
        lambda f: nested(f, "artifacts/pack.json", "config", "seed", value=9),
        "chain",
    ),
    Forgery("a stage's code changed", set_json("artifacts/evaluate.json", code=HEX), "code chain"),
    Forgery(
        "training configuration changed",
        lambda f: nested(f, "config/train.json", "train", "lr", value=0.5),
        "chain ledger checkpoints",
    ),
    Forgery(
        "a code file's hash changed", lambda f: nested(f, "code/tree.json", "files", 0, "sha256", value=HEX), "code"
    ),
    Forgery("a recipe that would fill the memory", add("config/recipe.yaml", BOMB), "chain"),
    Forgery("JSON too deep", add("bundle.json", "[" * 100_000), "form chain code ledger report weights"),
]

# What a maker who forgets nothing gets past every check that trains nothing; what is left to catch it.
UNSEEN = {
    "a gradient norm, or a loss between checkpoints, that was never computed": "V4, if its segment is drawn; V5",
    "windows and samples, refitted, that were not drawn": "V2 with --all; V5",
    "other runs that were tried and hidden; a seed that was picked": "nothing",
    "training on the test texts, where the texts are not in the declared data": "V5",
    "poison in the declared data, and flaws in packages that both sides run": "nothing",
    "when it was trained": "nothing here; a dated root elsewhere",
    "the witness": "nothing: it is no part of the root, and says so",
    "what the author says in words": "nothing",
    "the licence of merged weights that come from no bundle, stated falsely": "nothing here",
    "a source's licence, stated falsely from the beginning": "nothing here; its evidence is in data/evidence/",
}
