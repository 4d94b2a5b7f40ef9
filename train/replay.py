"""Verb replay: take some steps of a run again, from one of its checkpoints, and write what they gave.

Whoever compares the numbers with the run's ledger has audited these steps. Any number of ranks and any placement will
do, whatever the run was made with. Free of torch until it must.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.arguments import take
from core.cli import recipe_and_overrides
from core.durable import write_durably
from core.errors import ConfigError
from core.hashing import canonical_json
from core.profile import apply
from core.progress import Progress
from train.recipe import Recipe, read_recipe
from train.run import tell_idle
from train.starter import take_seat

if TYPE_CHECKING:
    from train.loop import Done

USAGE = "python -m train replay"
INIT = "init"
OPTIONS = ("--pack", "--start", "--until", "--out")
# Where to write what the lines are made of: losses and gradient roots of micro-batches, and the last state by chunks.
DETAIL = "--detail"
MICRO, CHUNKS = "micro.jsonl", "chunks.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What to replay: the steps after a checkpoint (None: after the initial weights), with which tokens, into what."""

    pack: Path
    checkpoint: Path | None
    until: int
    out: Path
    detail: Path | None = None


def main(arguments: Sequence[str]) -> None:
    """`RECIPE --pack DIR --start CHECKPOINT_DIR|init --until STEP --out FILE [--detail DIR] [key=value ...]`."""
    rest, segment = parse(arguments)
    recipe = read_recipe(*recipe_and_overrides(rest, USAGE))
    if segment.until > recipe.train.steps:
        raise ConfigError(f"--until {segment.until} is beyond train.steps {recipe.train.steps}; give a step of the run")
    apply(recipe.profile)
    replay(recipe, segment)


def parse(arguments: Sequence[str]) -> tuple[list[str], Segment]:
    """Take the options out of the arguments. Raises ConfigError naming what is missing or wrong."""
    values, rest = take(arguments, values=[DETAIL], needed=OPTIONS)
    if not values["--until"].isdecimal():
        raise ConfigError(f"--until {values['--until']!r} is not a step")
    checkpoint = None if values["--start"] == INIT else Path(values["--start"])
    out = Path(values["--out"])
    return rest, Segment(
        pack=Path(values["--pack"]),
        checkpoint=checkpoint,
        until=int(values["--until"]),
        out=out,
        detail=Path(values[DETAIL]) if values.get(DETAIL) else None,
    )


def replay(recipe: Recipe, segment: Segment) -> None:
    """Take the steps on every rank; the first writes one line of canonical JSON a step, all at once at the end.

    Raises DataError if the checkpoint or the tokens are damaged, ConfigError if there is nothing to replay.
    """
    from train.loop import Return, open_heldout, open_loader, prepare, steps
    from train.parent import check_parent
    from train.reference import compute_reference
    from train.runtime import open_world
    from train.saver import Saver
    from train.store import open_checkpoint

    start = recipe.train.start
    if start.is_continued and not segment.checkpoint:
        parent = open_checkpoint(start.checkpoint)
        check_parent(parent, recipe)
        segment = replace(segment, checkpoint=parent.folder)
    first = open_checkpoint(segment.checkpoint).position.step if segment.checkpoint else 0
    if first >= segment.until:
        raise ConfigError(f"the checkpoint is of step {first}, --until is {segment.until}; give a later step")
    config, device = recipe.train, recipe.profile.device.value
    seat = take_seat(config)
    if seat.is_idle:
        tell_idle(seat)
        return
    with open_world(seat, device=device, timeout_s=config.timeout_s, is_grouped=config.placement.is_grouped) as world:
        loader = open_loader(recipe, segment.pack)
        heldout = open_heldout(recipe, segment.pack, loader=loader)
        last = config.decided_at(segment.until)
        reference = compute_reference(recipe, loader, world=world, steps=range(first + 1, last + 1))
        job = prepare(
            recipe,
            world=world,
            loader=loader,
            heldout=heldout,
            checkpoint=segment.checkpoint,
            reference=reference,
        )
        saver = Saver(job.placed, world, committer=None)
        progress = Progress("replay", total=last, unit="steps", done=first)
        lines: list[bytes] = []
        micro: list[bytes] = []
        chunks: dict[str, list[str]] = {}
        for done in steps(job, after=first, until=last):
            if isinstance(done, Return):
                progress.advance(done.to - first - len(lines))
                del lines[done.to - first :], micro[done.to - first :]
                continue
            state = {"state": saver.root()} if done.is_saved else {}
            lines.append(canonical_json(done.line | state) + b"\n")
            micro.append(canonical_json(_micro(done)) + b"\n")
            if segment.detail and done.step == segment.until:
                chunks = {name: [one.hex() for one in own] for name, own in saver.hashes().items()}
            if world.is_first:
                progress.advance(note=f"loss {done.numbers.loss:.4f}")
        if world.is_first:
            write_durably(segment.out, b"".join(lines[: segment.until - first]))
            if segment.detail:
                write_durably(segment.detail / MICRO, b"".join(micro[: segment.until - first]))
                write_durably(segment.detail / CHUNKS, canonical_json(chunks))
            sys.stdout.write(f"{segment.out}\n")


def _micro(done: "Done") -> dict[str, Any]:
    numbers = done.numbers
    return {"step": done.step, "losses": [loss.hex() for loss in numbers.losses], "roots": list(numbers.roots)}
