"""One optimizer step: micro-batches, their canonical sum, the norm, the update. Every rank takes it together."""

import math
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from core.errors import DeterministicError
from core.merkle import leaf_hash, merkle_root
from core.suffer import touch
from data.heldout import Heldout
from data.loader import Loader
from model.transformer import Loss
from train.balance import Balance
from train.canonical import tree_sum
from train.config import Objective, TrainConfig
from train.norm import gradient_norm
from train.objective import Rewards, divisor, micro_loss
from train.optim import rule_of, update
from train.owners import Owners
from train.placed import MicroStep, Placed
from train.reference import Reference
from train.runtime import World
from train.schedule import learning_rate
from train.spikes import Watch
from train.vital import enter, is_stop_asked, lie

if TYPE_CHECKING:
    from train.tiers import Tiers

# A micro-batch's result as int64 words: its loss, a double, and the 32 bytes of its gradient's root.
RESULT = struct.Struct("<d32s")
WORDS = struct.Struct("<5q")
NO_ROOT = bytes(32)
# Of pairs two more: the sum of their margins, a double, and how many prefer what was chosen.
MARGIN, WORD = struct.Struct("<d"), struct.Struct("<q")


def _nothing() -> None:
    """Where no checkpoint is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything a step needs, on one rank. `let_go` is called before weights or moments change."""

    config: TrainConfig
    is_sqrt_in_float64: bool
    is_update_fused: bool = False
    loader: Loader
    world: World
    placed: Placed
    owners: Owners
    watch: Watch
    parameter_count: int
    heldout: Heldout | None = None
    reference: Reference | None = None
    let_go: Callable[[], None] = _nothing
    # Only under a keeper.
    tiers: "Tiers | None" = None
    # Only where it is asked for.
    balance: Balance | None = None

    def data_step(self, step: int) -> int:
        """The step of the data order that a step takes: further on if data were skipped."""
        return step + self.watch.measured.shift

    @property
    def tokens_per_step(self) -> int:
        """Positions of a step, of pairs those of both answers; of text every one is a target."""
        return self.config.micro_batches * self.config.micro_batch * self.loader.rows * self.loader.seq_len

    def divisor(self, data_step: int) -> int:
        """What the sums over a step are divided by."""
        return divisor(self.config, self.loader, data_step)

    def loss(self, step: int, index: int) -> Loss:
        """The forward of a micro-batch."""
        return micro_loss(
            self.placed.model,
            config=self.config,
            loader=self.loader,
            reference=self.reference,
            device=self.world.device,
            data_step=self.data_step(step),
            index=index,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a step gave, the same on every rank but for the two times. `left_out` says why it changed no weight.

    `is_stopping` says that a rank was asked to stop, and that all do so after this step. Of a digested step, `losses`
    and `roots` are those of all micro-batches, of which the ledger holds the mean and the root. `rewards` are of pairs;
    `returned` is what the ledger says of a return, in its first step. `count` is what sums over the step are divided
    by.
    """

    data_step: int
    left_out: str
    lr: float
    loss: float
    norm: float
    count: int
    grads: str | None
    seconds: float
    compute_seconds: float
    is_stopping: bool = False
    losses: Sequence[float] = ()
    roots: Sequence[str] = ()
    rewards: Rewards | None = None
    returned: Mapping[str, Any] = field(default_factory=dict)


def take_step(job: Job, step: int) -> Numbers:
    """Take step `step` (from 1). Raises DeterministicError if the loss or a gradient is not finite."""
    config, placed = job.config, job.placed
    started = time.perf_counter()
    enter("compute", step)
    losses, roots, rewards, is_stopping = _micro_batches(job, step)
    compute_seconds = time.perf_counter() - started
    enter("reduce", step)
    gradients = placed.reduce()
    data_step = job.data_step(step)
    count = job.divisor(data_step)
    loss = _mean_loss(losses, step, count=count)
    norm = _mean_norm(job, gradients, step, count=count)
    is_digested = config.is_digested(step)
    lr = learning_rate(step, config)
    left_out = job.watch.reason(loss=loss, norm=norm)
    numbers = Numbers(
        data_step=data_step,
        left_out=left_out,
        lr=lr,
        loss=loss,
        norm=norm,
        grads=merkle_root([leaf_hash(root) for root in roots]).hex() if is_digested else None,
        seconds=0.0,
        compute_seconds=compute_seconds,
        is_stopping=is_stopping,
        losses=losses if is_digested else (),
        roots=[root.hex() for root in roots] if is_digested else (),
        rewards=rewards,
        returned=job.watch.returned,
        count=count,
    )
    if job.tiers:
        job.tiers.log(job, gradients, step=step, numbers=numbers, roots=roots)
    enter("update", step)
    apply_update(job, gradients, step=step, numbers=numbers)
    if job.balance:
        job.balance.end_step()
    return replace(numbers, seconds=time.perf_counter() - started)


def apply_update(job: Job, gradients: Sequence[torch.Tensor], *, step: int, numbers: Numbers) -> None:
    """Change the weights as a step's numbers say. Gradients, of the sum, may be written over."""
    if numbers.left_out:
        job.placed.drop()
    else:
        job.let_go()
        _update(job, gradients, step=step, numbers=numbers)
    job.watch.note(loss=numbers.loss, norm=numbers.norm, reason=numbers.left_out)


def compute(job: Job, micro_step: MicroStep, *, step: int, is_digested: bool) -> tuple[Loss, str | None]:
    """Forward and backward of one micro-batch; returns its loss, and its gradient's root if it is wanted."""
    touch("micro_batch", step)
    loss = job.loss(step, micro_step.index)
    lie(loss.followed, step=step, index=micro_step.index)
    root = job.placed.backward(loss.followed, micro_step, is_digested=is_digested)
    return loss, root


def forward_loss(job: Job, step: int) -> float:
    """The loss of a step, whose micro-batches are all of this rank, as `take_step` tells it; nothing is updated."""
    losses = []
    for micro_step in job.placed.micro_steps:
        # With a graph, like in training: without one, other kernels may run.
        losses.append(float(job.loss(step, micro_step.index).told.detach()))
    job.placed.settle()
    return _mean_loss(losses, step, count=job.divisor(job.data_step(step)))


def _micro_batches(job: Job, step: int) -> tuple[list[float], list[bytes], Rewards | None, bool]:
    """Compute this rank's share of the step; returns losses and gradient roots of all micro-batches, by index.

    The third is of pairs, the fourth whether any rank was asked to stop: nobody needs to ask the others for it.
    """
    is_digested, count = job.config.is_digested(step), job.config.micro_batches
    # Behind the micro-batches a row for stops, and one a rank for its time, where that is of use.
    has_pairs = job.config.objective is Objective.PREFERENCE
    width = 7 if has_pairs else 5
    results = torch.zeros(count + 1 + (job.world.size if job.balance else 0), width, dtype=torch.int64)
    results[count, 0] = is_stop_asked()
    began = time.perf_counter_ns()
    for micro_step in job.placed.micro_steps:
        loss, root = compute(job, micro_step, step=step, is_digested=is_digested)
        if not micro_step.is_dummy:
            packed = RESULT.pack(float(loss.told.detach()), bytes.fromhex(root) if root else NO_ROOT)
            results[micro_step.index] = torch.tensor(WORDS.unpack(packed) + _margins(loss))
    if job.world.device == "cuda":
        # fully_shard exchanges gradients on streams of its own.
        torch.cuda.synchronize()
    if job.balance:
        own_ns = time.perf_counter_ns() - began
        results[count + 1 + job.world.rank, 0] = own_ns // len(job.placed.micro_steps)
    # Every row is zero on all ranks but one: the sum only moves it.
    job.world.add_integers(results)
    rows = results.tolist()
    unpacked = [RESULT.unpack(WORDS.pack(*words[:5])) for words in rows[:count]]
    rewards = _rewards([words[5:] for words in rows[:count]]) if has_pairs else None
    if job.balance:
        job.balance.note([own_ns for own_ns, *_ in rows[count + 1 :]])
    return [loss for loss, _ in unpacked], [root for _, root in unpacked], rewards, rows[count][0] > 0


def _margins(loss: Loss) -> tuple[int, ...]:
    """Of pairs the sum of their margins, as a word, and how many are above 0."""
    if loss.margins is None:
        return ()
    total = float(loss.margins.double().sum())
    return *WORD.unpack(MARGIN.pack(total)), int((loss.margins > 0).sum())


def _rewards(words: Sequence[Sequence[int]]) -> Rewards:
    margins = [MARGIN.unpack(WORD.pack(margin))[0] for margin, _ in words]
    return Rewards(margin=tree_sum(margins), right=sum(right for _, right in words))


def _mean_loss(losses: Sequence[float], step: int, *, count: int) -> float:
    bad = [index for index, loss in enumerate(losses) if not math.isfinite(loss)]
    if bad:
        raise DeterministicError(
            f"step {step}: the loss of micro-batch {bad[0]} is {losses[bad[0]]}; lower train.lr or lengthen "
            "train.warmup_steps"
        )
    return tree_sum(losses) / count


def _mean_norm(job: Job, gradients: Sequence[torch.Tensor], step: int, *, count: int) -> float:
    """Norm of the gradient of the mean loss; `gradients` are of the sum."""
    names = [segment.span.name for segment in job.placed.segments]
    norm = gradient_norm(
        gradients,
        names=names,
        count=job.parameter_count,
        world=job.placed.sharers,
        step=step,
        is_fused=job.is_update_fused,
    )
    return norm / count


def _update(job: Job, gradients: Sequence[torch.Tensor], *, step: int, numbers: Numbers) -> None:
    norm = numbers.norm
    clip = min(1.0, job.config.clip_norm / norm) if norm > 0 else 1.0
    scale = clip / numbers.count
    rule = rule_of(
        step,
        job.config,
        lr=numbers.lr,
        scale=scale,
        is_sqrt_in_float64=job.is_sqrt_in_float64,
        is_fused=job.is_update_fused,
    )
    with torch.no_grad():
        job.placed.step(gradients, partial(update, rule=rule, owners=job.owners))
