"""Audits: compute committed micro-batches again, on another node, and hold their digests against what was said.

A micro-batch's gradient is a pure function of weights, tokens and index, so whoever has the state before a step can
tell whether what a rank gave for it was right. The state comes from the keepers' shelves (tiers.py), and so do the
digests, whose root is in the ledger. What is found goes to a file, as JSON; who lied is decided elsewhere, by a vote.

It is also the passport of a node that wants to join: it must get what the others have got.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from core.durable import write_durably
from core.kept import kept
from core.seeds import derive_seed
from train.chain import Chain, chains
from train.config import Placement
from train.placed import MicroStep
from train.recipe import Recipe
from train.run import Work
from train.runtime import World
from train.step import Job, compute
from train.tiers import Tiers, take_up


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to audit: `count` micro-batches drawn from the seed, or the one that `step` and `index` name."""

    out: str
    seed: int = 0
    count: int = 1
    step: int = 0
    index: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One micro-batch: the rank and node that computed it, what they said, and what was found."""

    step: int
    index: int
    rank: int
    node: str
    said: str
    found: str


def audit(work: Work, request: Request) -> None:
    """Audit, and write what was found; nothing if the shelves hold no state with a step behind it."""
    told = kept()
    assert told, "audits are asked for by a keeper"
    from train.loop import open_loader, prepare
    from train.reference import compute_reference

    recipe = alone(work.recipe)
    world = World(rank=0, size=1, device=recipe.profile.device.value)
    tiers = Tiers(told, world)
    chain, step = choose(chains(tiers.inventory()), request, recipe=recipe)
    audited: list[Audited] = []
    if chain:
        loader = open_loader(recipe, work.pack)
        reference = compute_reference(recipe, loader, world=world, steps=[step])
        job = prepare(recipe, world=world, loader=loader, checkpoint=None, is_filled=False, reference=reference)
        tiers.restore(job, chain, after=step - 1)
        audited = [
            again(job, chain, step=step, index=index)
            for index in indices(request, step=step, micro_batches=recipe.train.micro_batches)
        ]
    write_durably(Path(request.out), json.dumps({"audited": [asdict(one) for one in audited]}).encode())


def alone(recipe: Recipe) -> Recipe:
    """The recipe for one process: the placement changes no bit."""
    plain = replace(
        recipe.train,
        placement=Placement.ZERO1,
        node_ranks=0,
        is_resharded=True,
        is_optimizer_offloaded=False,
    )
    return replace(recipe, train=plain)


def choose(found: Sequence[Chain], request: Request, *, recipe: Recipe) -> tuple[Chain | None, int]:
    """A chain, and the step behind its base whose micro-batches to audit: the one named, or one drawn."""
    for chain in found:
        steps = [step for step in chain.logs if recipe.train.is_digested(step) and request.step in (0, step)]
        if steps:
            return chain, steps[derive_seed(request.seed, "audited step", chain.last) % len(steps)]
    return None, 0


def indices(request: Request, *, step: int, micro_batches: int) -> list[int]:
    """The micro-batches to audit, each once."""
    if request.index >= 0:
        return [request.index]
    order = sorted(range(micro_batches), key=lambda index: derive_seed(request.seed, "audited", step, index))
    return order[: request.count]


def again(job: Job, chain: Chain, *, step: int, index: int) -> Audited:
    """Compute one micro-batch again."""
    take_up(job, chain.logs[step])
    _, root = compute(job, MicroStep(0, index), step=step, is_digested=True)
    # The sum of one is of no use.
    job.placed.reduce()
    header = next(entry.header for entry in chain.logs[step] if index in entry.header["computed"])
    return Audited(
        step=step,
        index=index,
        rank=header["rank"],
        node=header["node"],
        said=header["roots"][index],
        found=root or "",
    )
