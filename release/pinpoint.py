"""Where a replay and a record part: the step and field, the micro-batch, the tensor and the chunk.

The ledger names the first step and field. Of a step's micro-batches it holds the mean of their losses and the root of
their gradients only; what they were made of is in the witness, which may say anything, but counts only where it gives
the ledger's numbers. Of states it holds roots; tensors are compared where the segment's last checkpoint is here.
"""

import json
from pathlib import Path
from typing import Any

from core.journal import read_journal
from core.ledger import Difference
from core.merkle import leaf_hash, merkle_root
from release.contents import Bundle
from release.weights import chunk_hashes

MICRO, CHUNKS = "micro.jsonl", "chunks.json"
OF_MICRO_BATCHES = ("loss", "grads", "norm")


def pinpoint(bundle: Bundle, difference: Difference, details: Path, *, end: int) -> list[str]:
    """What more can be said of a difference; `details` is what the replay up to step `end` left there."""
    said = []
    if difference.field in OF_MICRO_BATCHES:
        said.append(_micro_batch(bundle, difference, details))
    elif difference.field == "state":
        said.append("losses and gradients up to there are equal: what differs is the optimizer's update or state")
    return [*said, _chunk(bundle, details, end=end)]


def _micro_batch(bundle: Bundle, difference: Difference, details: Path) -> str:
    step = difference.step
    replayed = next(line for line in _lines(details / MICRO) if line["step"] == step)
    if not replayed["roots"]:
        return f"step {step} was not digested (train.grad_digest_every_steps), so no micro-batch can be named"
    recorded = _recorded(bundle, step)
    if not recorded:
        return (
            f"which of the {len(replayed['roots'])} micro-batches cannot be said: the ledger holds only the root of "
            "their gradients, and the witness has none that give it"
        )
    for name, what in (("losses", "loss"), ("roots", "gradient")):
        for index, (one, other) in enumerate(zip(recorded[name], replayed[name], strict=False)):
            if one != other:
                return f"first in the {what} of micro-batch {index}: {one} recorded, {other} replayed"
    return (
        "every micro-batch's loss and gradient are the recorded ones (witness), so what was made of them was not: the "
        f"{difference.field} was written by hand, or the sum was another"
    )


def _recorded(bundle: Bundle, step: int) -> dict[str, Any]:
    """What the run's journal says of a step's micro-batches, if their gradients give the root in the ledger."""
    wanted = bundle.line(step).get("grads")
    for path in sorted((bundle.witness / "train").glob("journal-rank*.jsonl")):
        for event in read_journal(path):
            if event.get("event") == "step.digested" and event.get("step") == step:
                leaves = [leaf_hash(bytes.fromhex(root)) for root in event["roots"]]
                if merkle_root(leaves).hex() == wanted:
                    return event
    return {}


def _chunk(bundle: Bundle, details: Path, *, end: int) -> str:
    """The first chunk of the first tensor that differs in the state behind the segment."""
    folder = bundle.checkpoints.get(end)
    if not folder:
        return (
            f"the checkpoint of step {end} is not in the bundle, so tensors cannot be compared: the ledger has its root"
        )
    replayed: dict[str, list[str]] = json.loads((details / CHUNKS).read_bytes())
    recorded = chunk_hashes(folder / name for name in ("model.safetensors", "optimizer.safetensors"))
    for name in sorted(replayed.keys() | recorded.keys()):
        ours, theirs = replayed.get(name, []), recorded.get(name, [])
        if ours != theirs:
            pairs = list(zip(theirs, ours, strict=False))
            at = next((index for index, (one, other) in enumerate(pairs) if one != other), len(pairs))
            tensors = sum(replayed.get(one) != recorded.get(one) for one in replayed.keys() | recorded.keys())
            return (
                f"after step {end}, {tensors} of {len(replayed)} tensors differ from the checkpoint, first {name} in "
                f"chunk {at} of {len(ours)}"
            )
    return f"the state after step {end} is that of the checkpoint, so only the record of the steps is another"


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]
