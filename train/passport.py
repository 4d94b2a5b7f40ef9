"""Verb passport: compute the micro-batches of a committed step again, and hold their root against the run's ledger.

A machine that gets the committed root has the right tokens, code and libraries, and computes rightly. It is of the
step behind the newest checkpoint that has one in the ledger; its gradients are computed by one process, alone, and so
the model must fit there. What a node under keepers must show is one micro-batch from their memory (audit.py).
"""

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from core.cli import recipe_and_overrides
from core.errors import DeterministicError
from core.hashing import canonical_json
from core.ledger import Line, read_lines
from core.merkle import leaf_hash, merkle_root
from core.profile import apply
from train.recipe import read_recipe
from train.run import Work, work_of
from train.store import CHECKPOINTS, list_checkpoints

USAGE = "python -m train passport"
LEDGER = "ledger.jsonl"


def main(arguments: Sequence[str]) -> None:
    """Write the root as JSON, or that nothing is committed. Raises DeterministicError if it is not the ledger's."""
    recipe = read_recipe(*recipe_and_overrides(arguments, USAGE))
    work = work_of(recipe)
    wanted = work.wanted
    folder = wanted.final if (wanted.final / LEDGER).exists() else wanted.aside
    # A run may be writing it.
    lines = read_lines(folder / LEDGER, is_torn_allowed=True) if (folder / LEDGER).exists() else []
    checkpoints = list_checkpoints(folder / CHECKPOINTS)
    line = choose(lines, [*checkpoints, *([] if recipe.train.start.is_continued else [0])])
    if not line:
        sys.stdout.write(canonical_json({"committed": "nothing"}).decode() + "\n")
        return
    apply(recipe.profile)
    step = line["step"]
    found = root_of(work, step=step, checkpoint=checkpoints.get(step - 1))
    if found != line["grads"]:
        raise DeterministicError(
            f"the gradients of step {step} have the root {found[:12]} here, {line['grads'][:12]} in {folder / LEDGER}; "
            "this machine does not compute as those that trained did: leave it out"
        )
    sys.stdout.write(canonical_json({"step": step, "grads": found}).decode() + "\n")


def choose(lines: Sequence[Line], states: Collection[int]) -> Line | None:
    """The last line that has a root and follows a step whose state is there."""
    return next((one for one in reversed(lines) if "grads" in one and one["step"] - 1 in states), None)


def root_of(work: Work, *, step: int, checkpoint: Path | None) -> str:
    """The root over the gradients of a step's micro-batches."""
    # These import torch, which must find the profile's environment.
    from train.audit import alone
    from train.loop import open_loader, prepare
    from train.placed import MicroStep
    from train.reference import compute_reference
    from train.runtime import World
    from train.step import compute

    recipe = alone(work.recipe)
    world = World(rank=0, size=1, device=recipe.profile.device.value)
    loader = open_loader(recipe, work.pack)
    reference = compute_reference(recipe, loader, world=world, steps=[step])
    job = prepare(recipe, world=world, loader=loader, checkpoint=checkpoint, reference=reference)
    roots = []
    for index in range(recipe.train.micro_batches):
        _, root = compute(job, MicroStep(0, index), step=step, is_digested=True)
        # The sum of one is of no use.
        job.placed.reduce()
        assert root
        roots.append(leaf_hash(bytes.fromhex(root)))
    return merkle_root(roots).hex()
