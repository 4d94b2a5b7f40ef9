"""The evaluations in a ledger: after the steps that the configuration says, of the held-out tokens that are shipped.

That a step's weights give these numbers only a replay can show (audit.py), which compares them like every other field.
"""

import math
from collections.abc import Mapping
from typing import Any

from core.errors import DataError
from core.hashing import hash_file
from release.contents import Bundle

HELDOUT = "data/pack/heldout/record.json"
LN2 = 0.6931471805599453
# Loss of all against those of the sources, each rounded once.
ROUNDED = 1e-12


def check_evaluations(bundle: Bundle) -> str:
    """What was evaluated, in one phrase; an empty string if nothing was meant to be. Raises DataError."""
    steps, every = bundle.ledger[1:], bundle.trained["train"].get("eval_every_steps", 0)
    evaluated = {line["step"]: line["eval"] for line in steps if "eval" in line}
    due = [line["step"] for line in steps if every and (line["step"] % every == 0 or line is steps[-1])]
    if list(evaluated) != due:
        raise DataError(f"the ledger has evaluations of steps {list(evaluated)}, but the configuration says {due}")
    if not due:
        return ""
    root = hash_file(bundle.folder / HELDOUT)
    counts = {source["name"]: source for source in bundle.read_json(HELDOUT)["sources"]}
    for step, told in evaluated.items():
        if told["heldout"] != root:
            raise DataError(f"step {step} was evaluated on held-out tokens with root {told['heldout']}; here is {root}")
        _check_numbers(told, counts, where=f"the evaluation of step {step}")
    return f"{len(due)} evaluations are of the held-out tokens that are here"


def _check_numbers(told: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]], *, where: str) -> None:
    if told["sources"].keys() != counts.keys():
        raise DataError(f"{where} names sources {sorted(told['sources'])}; held out are {sorted(counts)}")
    whole = {name: sum(count[name] for count in counts.values()) for name in ("text_tokens", "text_bytes")}
    for name, score, count in (
        *((name, told["sources"][name], count) for name, count in counts.items()),
        ("total", told, whole),
    ):
        bits = float.fromhex(score["loss"]) * count["text_tokens"] / (LN2 * count["text_bytes"])
        if score["bits_per_byte"] != bits.hex():
            raise DataError(f"{where} has other bits per byte of {name} than follow from its loss")
    nats = math.fsum(float.fromhex(told["sources"][name]["loss"]) * counts[name]["text_tokens"] for name in counts)
    if not math.isclose(float.fromhex(told["loss"]), nats / whole["text_tokens"], rel_tol=ROUNDED):
        raise DataError(f"{where} has another loss in total than its sources give together")
