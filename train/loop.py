"""Start here: the whole of training.

`train` goes from wherever a folder stands to the last step, on every rank together. `steps` is the loop itself; a
replay (replay.py) runs it too, so what is audited is what was trained. What happens in a step is in step.py, how the
ranks share the work in parallel.py, and in what order gradients are added, the heart of it, in canonical.py.

Whoever imports this imports torch, and has applied the numerics profile first.
"""

import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from os import getpid
from pathlib import Path

from torch import Tensor

from core.artifact import WITNESS, Facts
from core.energy import Meter, open_meter
from core.errors import Preempted
from core.journal import Journal
from core.kept import kept
from core.ledger import Line
from core.notes import leave_beat
from data.heldout import Heldout
from data.loader import Loader
from model.init import initialize
from model.numerics import honour
from train.balance import Balance
from train.canonical import contiguous_ranges
from train.chain import chains
from train.checkpoint import fill_weights, read_moments
from train.config import Objective, Save, TrainConfig
from train.forward import new_model, run_as_asked
from train.hashes import hash_in_lanes
from train.heldout import Scores, score
from train.objective import check_form
from train.owners import Owners
from train.parallel import place
from train.parent import fill_from_parent
from train.placed import Placed, load_moments, put_back, snapshot
from train.recipe import Recipe
from train.records import LEDGER, Records
from train.reference import Reference, open_reference
from train.runtime import World
from train.saver import Saver, kept_layouts
from train.selftests import check_at_start
from train.spikes import Measured, Watch
from train.step import Job, Numbers, take_step
from train.store import open_checkpoint
from train.tiers import Tiers
from train.vital import await_release, enter
from train.vocabulary import check_tokenizer
from train.wandb_online import open_view
from train.zero1 import Zero1


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A finished step. The ledger line, which lacks the state root of a saved step, is on the first rank only.

    `measured` is what the spike policy knows after a saved step; None if it is off. `scores` are of an evaluated step.
    """

    step: int
    numbers: Numbers
    line: Line
    is_saved: bool
    measured: Measured | None
    scores: Scores | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """The run has gone back to a saved step: what it did after that is void."""

    step: int
    to: int


def train(recipe: Recipe, *, world: World, pack: Path, folder: Path) -> Facts:
    """Train in `folder` up to the last step; every rank calls it, and the first gets the artifact's facts.

    Raises DataError for damaged tokens, and DeterministicError where trying again cannot help.
    """
    loader = open_loader(recipe, pack)
    check_tokenizer(recipe, loader)
    reference = open_reference(recipe, loader, world=world, folder=folder, ledger=folder / LEDGER)
    records = Records(folder, recipe=recipe, data_root=loader.root, reference=reference) if world.is_first else None
    generation = world.share(records.generation if records else None)
    journal_path = folder / WITNESS / f"journal-rank{world.rank}.jsonl"
    journal = Journal(journal_path, rank=world.rank, generation=generation, is_speaking=world.is_first)
    how = recipe.train.placement.value
    journal.event("run.started", placement=how, world_size=world.size, host=socket.gethostname(), pid=getpid())
    heldout = open_heldout(recipe, pack, loader=loader)
    job, start = begin(
        recipe, world=world, loader=loader, heldout=heldout, reference=reference, records=records, journal=journal
    )
    saver = Saver(job.placed, world, committer=records)
    job = replace(job, let_go=saver.let_go)
    if records:
        records.hold_room(kept_layouts(job.placed))
    view = open_view(recipe, folder / WITNESS, journal=journal) if world.is_first else None
    meter = open_meter(is_gpu=world.device == "cuda")
    began = time.perf_counter()
    for done in steps(job, after=start, until=recipe.train.steps):
        if isinstance(done, Return):
            saver.finish()
            if records:
                records.go_back(done.step, to=done.to)
            continue
        is_stopping = done.numbers.is_stopping
        # The spike policy goes on from saved steps only.
        is_begun = done.is_saved or (is_stopping and not recipe.train.spikes.is_on)
        enter("save" if is_begun else "write", done.step)
        _save(
            saver,
            done,
            records=records,
            is_begun=is_begun,
            is_waiting=is_stopping or recipe.train.save is Save.SYNC,
        )
        if job.tiers:
            job.tiers.end_step(job, done.step)
        if view:
            view.log(done.step, numbers=done.numbers, scores=done.scores)
        _record_scores(journal, done)
        if world.is_first:
            _record_digests(journal, done)
            _record_rewards(journal, job, done)
        _record_shift(journal, job, step=done.step)
        _record_step(journal, done, began=began, tokens=job.tokens_per_step, meter=meter)
        began = time.perf_counter()
        leave_beat(done.step)
        if is_stopping and done.step < recipe.train.steps:
            world.wait()
            what = "which is committed" if is_begun else "and goes on from the last saved one (train.spikes)"
            raise Preempted(f"stopped after step {done.step}, {what}; run the same command again to go on")
    enter("wait", recipe.train.steps)
    saver.finish()
    await_release()
    if view:
        view.finish()
    journal.event("run.finished", step=recipe.train.steps)
    world.wait()
    return records.finish() if records else {}


def steps(job: Job, *, after: int, until: int) -> Iterator[Done | Return]:
    """Take the steps after + 1 .. until, some of them again if the spike policy goes back."""
    is_watching, step = job.config.spikes.is_on, after
    saved = Saved.of(job, after) if is_watching else None
    while step < until:
        step += 1
        numbers = (job.tiers.redo(job, step) if job.tiers else None) or take_step(job, step)
        is_saved = job.config.is_saved(step)
        if saved and job.watch.must_return(is_saved=is_saved):
            job.watch.go_back(saved.measured, step=step, to=saved.step, why=numbers.left_out)
            job.let_go()
            put_back(job.placed, saved.tensors)
            if job.tiers:
                job.tiers.forget()
            yield Return(step=step, to=saved.step)
            step = saved.step
            continue
        if saved and is_saved:
            saved = Saved.of(job, step)
        measured = job.watch.measured if saved and is_saved else None
        scores = None
        if job.heldout and job.config.is_evaluated(step):
            enter("evaluate", step)
            scores = score(job.heldout, placed=job.placed, world=job.world, step=step)
        line = ledger_line(job, step, numbers=numbers, scores=scores) if job.world.is_first else {}
        job.watch.returned = {}
        yield Done(step=step, numbers=numbers, line=line, is_saved=is_saved, measured=measured, scores=scores)


@dataclass(frozen=True, slots=True)
class Saved:
    """What the spike policy goes back to: this rank's weights and moments after a saved step."""

    step: int
    tensors: list[list[Tensor]]
    measured: Measured

    @classmethod
    def of(cls, job: Job, step: int) -> "Saved":
        """The state as it is now."""
        return cls(step, snapshot(job.placed), job.watch.measured)


def _save(saver: Saver, done: Done, *, records: Records | None, is_begun: bool, is_waiting: bool) -> None:
    """Write a step down, begin its checkpoint if it is to have one, and go on with the one under way."""
    if is_begun:
        saver.finish()
    if records:
        records.add(done.line, is_saved=is_begun, is_told=done.is_saved, measured=done.measured)
    if is_begun:
        saver.begin(done.step)
    saver.advance(is_waiting=is_waiting)


def ledger_line(job: Job, step: int, *, numbers: Numbers, scores: Scores | None) -> Line:
    """A step's line of the ledger, but for the state root: nothing in it depends on placement or the clock."""
    line = {
        "step": step,
        "tokens": step * job.tokens_per_step,
        "batch": job.loader.digest(numbers.data_step),
        "lr": numbers.lr.hex(),
        "loss": numbers.loss.hex(),
        "norm": numbers.norm.hex(),
    }
    if job.config.objective is Objective.SFT:
        line["targets"] = numbers.count
    if numbers.grads:
        line["grads"] = numbers.grads
    if numbers.data_step != step:
        line["data_step"] = numbers.data_step
    if numbers.left_out:
        line["left_out"] = numbers.left_out
    if scores:
        line["eval"] = scores.plain()
    if numbers.returned:
        line["returned"] = dict(numbers.returned)
    return line


def begin(
    recipe: Recipe,
    *,
    world: World,
    loader: Loader,
    heldout: Heldout | None,
    reference: Reference | None,
    records: Records | None,
    journal: Journal,
) -> tuple[Job, int]:
    """The job, with the state after the step that is returned: from keepers' memory, from disk, or the initial one."""
    tiers = open_tiers(world, journal)
    found = chains(tiers.inventory()) if tiers and records else []
    start, checkpoint, chain = world.share(records.find_start(journal, found) if records else None)
    job = prepare(
        recipe,
        world=world,
        loader=loader,
        heldout=heldout,
        checkpoint=checkpoint,
        reference=reference,
        is_filled=chain is None,
    )
    if tiers:
        job = replace(job, tiers=tiers)
        if chain:
            tiers.restore(job, chain, after=start)
        tiers.end_step(job, start)
    return job, start


def open_tiers(world: World, journal: Journal) -> Tiers | None:
    """The keepers' memory, if there is one."""
    told = kept()
    return Tiers(told, world, journal) if told and told.base_every else None


def prepare(
    recipe: Recipe,
    *,
    world: World,
    loader: Loader,
    checkpoint: Path | None,
    heldout: Heldout | None = None,
    reference: Reference | None = None,
    is_filled: bool = True,
) -> Job:
    """Make the model, fill it from a verified checkpoint or with its initial weights, and lay it out on the ranks.

    Initial weights are the seed's, or the parent's if `train.start` takes weights alone.
    If not `is_filled`, the weights come from elsewhere and are left as they are.
    """
    honour(recipe.profile)
    check_at_start(recipe)
    hash_in_lanes(recipe.profile)
    config = recipe.train
    model = new_model(recipe)
    saved = open_checkpoint(checkpoint) if checkpoint and is_filled else None
    if saved:
        fill_weights(model, saved)
    elif is_filled and config.start.is_given:
        fill_from_parent(model, recipe)
    elif is_filled:
        initialize(model, seed=config.seed, std=recipe.model.init_std, width_factor=recipe.model.width_factor)
    count = sum(parameter.numel() for parameter in model.parameters())
    run_as_asked(model, recipe)
    placed = place(model, world=world, config=config)
    if saved:
        load_moments(placed, read_moments(saved))
    return Job(
        config=config,
        is_sqrt_in_float64=recipe.profile.is_sqrt_in_float64,
        is_update_fused=recipe.profile.is_update_fused,
        loader=loader,
        world=world,
        placed=placed,
        owners=Owners(placed, placed.sharers),
        watch=Watch(config=config.spikes, measured=saved.measured if saved else Measured()),
        parameter_count=count,
        balance=open_balance(placed, config=config, world=world),
        heldout=heldout,
        reference=reference,
    )


def open_balance(placed: Placed, *, config: TrainConfig, world: World) -> Balance | None:
    """What gives slow ranks fewer micro-batches, if it is asked for and there is more than one rank."""
    if not config.balance_every_steps or world.size == 1 or not isinstance(placed, Zero1):
        return None
    counts = [last - first for first, last in contiguous_ranges(config.micro_batches, world.size)]
    return Balance(placed, window=config.balance_every_steps, counts=counts)


def open_loader(recipe: Recipe, pack: Path) -> Loader:
    """Open the packed tokens for the recipe's steps. Raises DataError if damaged, ConfigError if they do not fit."""
    config = recipe.train
    loader = Loader.open(pack, micro_batches=config.micro_batches, micro_batch=config.micro_batch)
    check_form(config, loader)
    recipe.check_data(vocab_size=loader.vocab_size, seq_len=loader.seq_len)
    loader.check_run(config.steps)
    return loader


def open_heldout(recipe: Recipe, pack: Path, *, loader: Loader) -> Heldout | None:
    """The pack's held-out tokens, if the recipe evaluates. Raises ConfigError if it has none, DataError if damaged."""
    if not recipe.train.eval_every_steps:
        return None
    return Heldout.open(pack, seq_len=loader.seq_len, micro_batch=recipe.train.micro_batch)


def _record_scores(journal: Journal, done: Done) -> None:
    if done.scores:
        total, sources = done.scores.total, done.scores.sources
        journal.event(
            "heldout.scored",
            step=done.step,
            loss=total.loss,
            bits_per_byte=total.bits_per_byte,
            seconds=done.scores.seconds,
            **{f"{name}.bits_per_byte": own.bits_per_byte for name, own in sources.items()},
        )


def _record_digests(journal: Journal, done: Done) -> None:
    """What the line's loss and root are made of: an audit that finds another line names the micro-batch by it."""
    if done.numbers.roots:
        losses = [loss.hex() for loss in done.numbers.losses]
        journal.record("step.digested", step=done.step, losses=losses, roots=list(done.numbers.roots))


def _record_rewards(journal: Journal, job: Job, done: Done) -> None:
    """How far the chosen answers of a step's pairs are ahead, on average, and of how many."""
    rewards = done.numbers.rewards
    if rewards:
        pairs = done.numbers.count
        margin = rewards.margin / pairs
        journal.record("rewards.measured", step=done.step, margin=margin, right=rewards.right, pairs=pairs)


def _record_shift(journal: Journal, job: Job, *, step: int) -> None:
    if job.balance and job.balance.is_shifted:
        times_ms = [own_ns / 1e6 for own_ns in job.balance.times_ns]
        journal.event("work.shifted", step=step, micro_batches=job.balance.counts, times_ms=times_ms)


def _record_step(journal: Journal, done: Done, *, began: float, tokens: int, meter: Meter | None) -> None:
    used = {"energy_j": meter.joules()} if meter else {}
    seconds = time.perf_counter() - began
    journal.record(
        "step.finished",
        step=done.step,
        loss=done.numbers.loss,
        seconds=seconds,
        step_seconds=done.numbers.seconds,
        compute_seconds=done.numbers.compute_seconds,
        tokens_per_s=tokens / seconds,
        memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **used,
    )
