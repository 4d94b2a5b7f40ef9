"""Forgeries by a maker who forgets nothing: every hash, root, record and report is made to fit what was forged.

Nothing that only compares digests can see these. Each names the checks that do, all of which compute something again.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.codetree import ROOT
from core.hashing import canonical_json
from data.tokenizer import Tokenizer
from release.contents import open_bundle
from release.openness.render import render, scripts
from release.stage import ask
from tests.release.forgeries import FIRST, LAST, Forgery, nested, nudge
from tests.release.forgery import LEDGER, edit_json, edit_ledger, make_consistent, refit_stage, refit_states, reseal

EVALUATED, EXPORTED = ("evaluate", "eval"), ("export", "weights/final")
PUBLISHED = "weights/final"


def forging(do: Callable[[Path], object]) -> Callable[[Path], object]:
    """A forgery after which everything fits."""

    def forge(folder: Path) -> None:
        do(folder)
        for stage, place in (EVALUATED, EXPORTED):
            refit_stage(folder, stage, place)
        make_consistent(folder)
        for name, content in {**render(open_bundle(folder)), **scripts(open_bundle(folder))}.items():
            (folder / name).write_bytes(content)
        reseal(folder)

    return forge


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write a file of JSON lines."""
    path.write_bytes(b"".join(canonical_json(line) + b"\n" for line in lines))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of such a file."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def better_scores(folder: Path) -> None:
    """Take off a hundredth of the nats of every window, and write the results that follow."""
    windows = read_lines(folder / "eval/windows.jsonl")
    write_lines(
        folder / "eval/windows.jsonl",
        [{**line, "nats": (0.99 * float.fromhex(line["nats"])).hex()} for line in windows],
    )
    results = json.loads((folder / "eval/results.json").read_bytes())
    for one in (results["total"], *results["sources"].values()):
        one["bits_per_byte"] *= 0.99
    (folder / "eval/results.json").write_bytes(canonical_json(results))
    restate(folder)


def better_result(folder: Path) -> None:
    """Better the result alone, and leave the windows as they are."""
    nested(folder, "eval/results.json", "total", "bits_per_byte", value=0.5)
    restate(folder)


def restate(folder: Path) -> None:
    """Make the record of stage evaluate say what its results say."""
    results = json.loads((folder / "eval/results.json").read_bytes())
    facts = json.loads((folder / "artifacts/evaluate.json").read_bytes())["facts"]
    facts["bits_per_byte"] = results["total"]["bits_per_byte"]
    facts["bits_per_byte_by_source"] = {name: own["bits_per_byte"] for name, own in results["sources"].items()}
    edit_json(folder / "artifacts/evaluate.json", facts=facts)


def other_sample(folder: Path) -> None:
    """Let a sample say something else, with the ids that this text has."""
    lines = read_lines(folder / "eval/samples.jsonl")
    ids = lines[0]["ids"][::-1]
    lines[0] |= {"ids": ids, "text": Tokenizer.open(folder / "tokenizer").decode(ids)}
    write_lines(folder / "eval/samples.jsonl", lines)


def other_init(folder: Path) -> None:
    """Begin the ledger with what other initial weights gave, as far as the first checkpoint."""
    out = folder.parent / "other"
    out.mkdir()
    bundle = open_bundle(folder)
    where = ["--pack", bundle.pack, "--start", "init", "--until", 3, "--out", out / "lines"]
    ask(ROOT, "train", "replay", bundle.recipe_path, *where, "train.seed=2", writable=out)
    for line in read_lines(out / "lines"):
        edit_ledger(folder, **line)


def other_optimizer(folder: Path) -> None:
    """Move an optimizer state a little, and name its root everywhere."""
    nudge(folder / FIRST / "optimizer.safetensors", by=1e-3)
    refit_states(folder)


def other_weights(folder: Path) -> None:
    """Move weights of a checkpoint in the middle, and name its root everywhere."""
    nudge(folder / FIRST / "model.safetensors", by=0.5)
    refit_states(folder)


def tuned_afterwards(folder: Path) -> None:
    """Move a weight of the last checkpoint and of the published folder alike, and name the root everywhere."""
    for name in (LAST, PUBLISHED):
        nudge_tensor(folder / name / "model.safetensors")
    refit_states(folder)


def nudge_tensor(path: Path) -> None:
    """Move the first value of the final norm's weight, whatever it is called in a file."""
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    name = next(name for name in ("norm.weight", "model.norm.weight") if name in header)
    at = 8 + size + header[name]["data_offsets"][0]
    # The lowest bit but four of the mantissa: 1e-6 of the value.
    content[at] ^= 0x10
    path.write_bytes(content)


def set_last_state(folder: Path) -> None:
    """Copy the state of another step over the last one, published weights and all."""
    shutil.copy(folder / FIRST / "optimizer.safetensors", folder / LAST)
    refit_states(folder)


def swapped_pieces(folder: Path) -> None:
    """Let two pieces of the fast tokenizer change their ids."""
    path = folder / PUBLISHED / "tokenizer.json"
    record = json.loads(path.read_bytes())
    pieces = sorted(record["model"]["vocab"], key=record["model"]["vocab"].__getitem__)
    record["model"]["vocab"] |= {pieces[400]: 401, pieces[401]: 400}
    path.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")


def other_logits(folder: Path) -> None:
    """Change one stored logit."""
    nested(folder, "eval/fingerprint.json", "logits", 5, 5, value=(0.25).hex())


def scaled_rates(folder: Path) -> None:
    """State another learning rate of a step than the configuration gives."""
    edit_ledger(folder, step=6, lr="0x1.0p-7")


def other_batch(folder: Path) -> None:
    """State that a step saw the batch of another."""
    edit_ledger(folder, step=6, batch=read_lines(folder / LEDGER)[7]["batch"])


def set_pretty(path: str, /, **changes: object) -> Callable[[Path], object]:
    """Change a JSON file as stage export writes it."""

    def change(folder: Path) -> None:
        record = {**json.loads((folder / path).read_bytes()), **changes}
        (folder / path).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    return change


def add_template(folder: Path) -> None:
    """Add a chat template as a file of its own."""
    (folder / PUBLISHED / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")


DEEP = [
    Forgery("scores of a better model", forging(better_scores), "scores"),
    Forgery("a result that does not follow from its windows", forging(better_result), "scores"),
    Forgery(
        "a window left out of the scores",
        forging(
            lambda f: write_lines(f / "eval/windows.jsonl", read_lines(f / "eval/windows.jsonl")[1:]),
        ),
        "scores",
    ),
    Forgery("a sample that the model never wrote", forging(other_sample), "scores"),
    Forgery("logits of another model", forging(other_logits), "forward"),
    Forgery(
        "a chat template in the tokenizer's configuration",
        forging(set_pretty(f"{PUBLISHED}/tokenizer_config.json", chat_template="{{ messages }}")),
        "forward",
    ),
    Forgery("a chat template as a file", forging(add_template), "forward"),
    Forgery("another fast tokenizer beside the right model", forging(swapped_pieces), "forward"),
    Forgery(
        "other settings for sampling",
        forging(set_pretty(f"{PUBLISHED}/generation_config.json", temperature=0.1)),
        "forward",
    ),
    Forgery("last weights tuned afterwards by 1e-6, everywhere alike", forging(tuned_afterwards), "forward audit"),
    Forgery("a learning rate that the schedule does not give", forging(scaled_rates), "rates"),
    Forgery("a step that says it saw another's batch", forging(other_batch), "data"),
    Forgery(
        "a loss that was never computed, behind a checkpoint",
        forging(lambda f: edit_ledger(f, step=5, loss="0x1.0p+1")),
        "losses audit",
    ),
    Forgery("initial weights that are not the seed's", forging(other_init), "losses audit"),
    Forgery("weights of a checkpoint moved, roots and all", forging(other_weights), "losses audit"),
    Forgery("optimizer state of a checkpoint moved, roots and all", forging(other_optimizer), "audit"),
    Forgery("optimizer state of another step at the end, roots and all", forging(set_last_state), "audit"),
    Forgery(
        "a gradient norm that was never computed",
        forging(lambda f: edit_ledger(f, step=6, norm="0x1.0p+1")),
        "audit",
    ),
]
# Tried by default; each costs processes that import torch, and the others are slow tests.
QUICK = {
    "scores of a better model",
    "a chat template in the tokenizer's configuration",
    "a loss that was never computed, behind a checkpoint",
    "optimizer state of a checkpoint moved, roots and all",
}
