"""Section `train`: how many steps of what shape, the optimizer's numbers, and where the work is done. Free of torch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from core.config import added, placement
from core.errors import ConfigError


class Sum(Enum):
    """In which order the gradients of a step's micro-batches are added."""

    CANONICAL = "canonical"
    """One binary tree over the index: the same bits at any placement."""
    FAST = "fast"
    """As they come, then the backend's all-reduce: repeatable at one placement only."""


class Placement(Enum):
    """How weights, gradients and optimizer state lie on the ranks."""

    REPLICATED = "replicated"
    """Every rank holds everything and makes the whole update."""
    ZERO1 = "zero1"
    """Every rank holds all weights and a slice of the optimizer state."""
    FSDP2 = "fsdp2"
    """Every rank holds a shard of everything; weights are gathered block by block."""
    HSDP = "hsdp"
    """Weights in shards inside a node, the same on every node; optimizer state in shards over all ranks."""
    DEEPSPEED1 = "deepspeed1"
    DEEPSPEED2 = "deepspeed2"
    DEEPSPEED3 = "deepspeed3"
    """DeepSpeed's engine at ZeRO stage 1, 2 or 3."""

    @property
    def deepspeed_stage(self) -> int:
        """The ZeRO stage of DeepSpeed's engine, or 0 where it has no part."""
        return int(self.value.removeprefix("deepspeed")) if self.value.startswith("deepspeed") else 0

    @property
    def is_grouped(self) -> bool:
        """Whether there must be a process group even if there is one rank only."""
        return self not in (Placement.REPLICATED, Placement.ZERO1)


class Objective(Enum):
    """What is learned (objective.py)."""

    NEXT_TOKEN = "next_token"
    """Every next token of text."""
    SFT = "sft"
    """The answers in conversations: of their tokens those that count."""
    PREFERENCE = "preference"
    """To prefer the chosen answers of pairs to the rejected ones: DPO."""


class Takes(Enum):
    """What a run takes over from another (`train.start`)."""

    ALL = "all"
    """Weights, moments, step and spike state: it goes on behind the step."""
    WEIGHTS = "weights"
    """Weights alone: it begins at step 0 with moments of zero and its own schedule and data."""


class Schedule(Enum):
    """What the learning rate does after the warm-up (schedule.py)."""

    COSINE = "cosine"
    WSD = "wsd"
    """Constant, then down over the last `decay_steps`: warm-up, stable, decay."""
    LINEAR = "linear"
    CONSTANT = "constant"


class DecayShape(Enum):
    """How WSD's decay goes down."""

    LINEAR = "linear"
    SQRT = "sqrt"


class Optimizer(Enum):
    """What turns gradients into updates."""

    ADAMW = "adamw"
    MUON = "muon"
    """Muon for the matrices of the blocks, AdamW for embedding, head and norms."""


class Save(Enum):
    """When training goes on after a step that is saved."""

    ASYNC = "async"
    """As soon as every rank has copied its part of the state."""
    SYNC = "sync"
    """When the checkpoint is committed."""


class WandbMode(Enum):
    """Whether a Weights & Biases run is written beside the journal, or sent to a hub by a process of its own."""

    OFF = "off"
    OFFLINE = "offline"
    ONLINE = "online"


@dataclass(kw_only=True, slots=True)
class MuonConfig:
    """Muon's numbers; its learning rate is `lr_factor` times `train.lr` wherever the schedule stands.

    Defaults are those of Jordan et al. 2024 (the Muon optimizer's reference): momentum 0.95, five iterations.
    """

    lr_factor: float = 5.0
    momentum: float = 0.95
    is_nesterov: bool = True
    iterations: int = 5

    def __post_init__(self) -> None:
        if not self.lr_factor > 0 or self.iterations < 1 or not 0 <= self.momentum < 1:
            raise ConfigError(
                f"train.muon has lr_factor {self.lr_factor}, iterations {self.iterations} and momentum "
                f"{self.momentum}; give above 0, at least 1, and from 0 to below 1"
            )


@dataclass(kw_only=True, slots=True)
class SpikeConfig:
    """What is an outlier, and when the run goes back (spikes.py). Off unless `is_on`.

    window       steps whose mean and deviation are the measure; nothing is an outlier before they are full
    deviations   how many standard deviations above the mean make an outlier
    patience     outliers in a row after which the run goes back to the last saved step
    max_returns  how often it may do so before it stops
    """

    is_on: bool = False
    window: int = 128
    deviations: float = 6.0
    patience: int = 3
    max_returns: int = 3

    def __post_init__(self) -> None:
        if self.window < 2 or self.patience < 1 or self.max_returns < 0 or not self.deviations > 0:
            raise ConfigError(
                f"train.spikes has window {self.window}, patience {self.patience}, max_returns {self.max_returns} and "
                f"deviations {self.deviations}; give at least 2, 1 and 0, and above 0"
            )


@dataclass(kw_only=True, slots=True)
class StartConfig:
    """The checkpoint of another run from which this one goes on (parent.py); without, it begins with initial weights.

    The state root says which state it is, whatever run made it and wherever it lies. With takes=weights `checkpoint`
    may also be a folder with model.safetensors, a bundle, or the folder of a run, whose last checkpoint it then is; the
    SHA-256 of model.safetensors names them.
    """

    checkpoint: Path = placement(Path)
    state_root: str = ""
    takes: Takes = added(Takes.ALL)
    weights_sha256: str = added("")

    def __post_init__(self) -> None:
        if self.takes is Takes.WEIGHTS:
            if self.checkpoint == Path() or bool(self.state_root) == bool(self.weights_sha256):
                raise ConfigError(
                    "train.start.takes is weights: it needs checkpoint, and one of state_root (in the checkpoint's "
                    "state.json) and weights_sha256 (of model.safetensors)"
                )
            return
        if self.weights_sha256:
            raise ConfigError("train.start.weights_sha256 names weights alone; set train.start.takes=weights")
        if (self.checkpoint != Path()) != bool(self.state_root):
            raise ConfigError(
                "train.start needs checkpoint and state_root together; give the folder, and the root in its state.json"
            )

    @property
    def is_given(self) -> bool:
        """Whether there is a parent."""
        return bool(self.state_root or self.weights_sha256)

    @property
    def is_continued(self) -> bool:
        """Whether the run goes on behind its parent's step."""
        return self.is_given and self.takes is Takes.ALL


@dataclass(kw_only=True, slots=True)
class PreferenceConfig:
    """DPO's numbers (Rafailov et al. 2023, arXiv:2305.18290).

    beta             how much the model is held near the weights it began with
    label_smoothing  the share of pairs that are taken to be labelled the wrong way (Mitchell 2023, conservative DPO)
    """

    beta: float = 0.1
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not self.beta > 0 or not 0 <= self.label_smoothing < 0.5:
            raise ConfigError(
                f"train.preference has beta {self.beta} and label_smoothing {self.label_smoothing}; give above 0, and "
                "from 0 to below 0.5"
            )


RANGES: tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...] = (
    (("steps", "micro_batches", "micro_batch"), lambda value: value >= 1, "at least 1"),
    (
        ("save_every_steps", "keep_every_steps", "keep_newest", "grad_digest_every_steps"),
        lambda value: value >= 1,
        "at least 1",
    ),
    (("lr", "eps", "clip_norm", "timeout_s"), lambda value: value > 0, "above 0"),
    (("beta1", "beta2"), lambda value: 0 <= value < 1, "at least 0 and below 1"),
    (
        ("weight_decay", "z_loss", "scrub_every_s", "node_ranks", "eval_every_steps", "balance_every_steps"),
        lambda value: value >= 0,
        "at least 0",
    ),
)


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """A step has `micro_batches` micro-batches of `micro_batch` windows each, however many ranks there are."""

    # Decides the initial weights; the order of the data has a seed of its own, pack.seed.
    seed: int
    # Updates of the weights; with train.start the last of all, not how many come on top.
    steps: int
    micro_batches: int
    micro_batch: int
    # The learning rate after the warm-up, and at the last step.
    lr: float
    min_lr: float
    warmup_steps: int
    # AdamW's numbers; the decay is decoupled and for matrices only.
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    # Gradients are scaled so that their joint norm is at most this.
    clip_norm: float
    # Steps between two checkpoints; the last step has one too.
    save_every_steps: int
    schedule: Schedule = Schedule.COSINE
    # For schedule=wsd only.
    decay_steps: int = 0
    decay_shape: DecayShape = DecayShape.LINEAR
    optimizer: Optimizer = Optimizer.ADAMW
    muon: MuonConfig = field(default_factory=MuonConfig)
    # Embedding and head are decayed like the other matrices, or not at all.
    is_embedding_decayed: bool = True
    # Weight of log(sum of exp of the logits)^2 in the loss that is followed; the loss that is told is without it.
    z_loss: float = 0.0
    spikes: SpikeConfig = field(default_factory=SpikeConfig)
    start: StartConfig = field(default_factory=StartConfig)
    objective: Objective = added(Objective.NEXT_TOKEN)
    preference: PreferenceConfig = added(PreferenceConfig)
    # Of the checkpoints, the artifact keeps those of steps that are multiples of this, and the last.
    keep_every_steps: int = 1
    # Steps between two ledger lines that hold the root over the gradients of the micro-batches.
    grad_digest_every_steps: int = 1
    # Steps after which the loss on the pack's held-out tokens is told, and the last; 0 is never (heldout.py).
    eval_every_steps: int = 0
    sum: Sum = Sum.CANONICAL
    wandb: WandbMode = placement(WandbMode.OFF)
    save: Save = placement(Save.ASYNC)
    # Besides those that the artifact keeps, the newest this many stay while the run is under way.
    keep_newest: int = placement(2)
    # Where committed checkpoints are copied to, and brought back from: any address of fsspec; empty is nowhere.
    checkpoints: str = placement("")
    # Seconds between two looks of the scrubber at all checkpoints; 0 is no scrubber.
    scrub_every_s: float = placement(0.0)
    # Keep only the inputs of blocks for the backward, and compute blocks again: less memory, the same bits.
    is_recomputed: bool = placement(False)
    # How long ranks wait for each other, and a run for another process that has its folder, in seconds.
    timeout_s: float = placement(120.0)
    lock_wait_s: float = placement(10.0)
    # zero1 and replicated: every so many steps ranks that compute slowly are given fewer micro-batches; 0 is never.
    balance_every_steps: int = placement(0)
    # fsdp2 and hsdp: a block's weights are given up behind its forward and gathered again for its backward.
    is_resharded: bool = placement(True)
    # hsdp: ranks of a node; 0 is as many as the starter says (LOCAL_WORLD_SIZE).
    node_ranks: int = placement(0)
    # deepspeed1 to 3: optimizer state and update on the host.
    is_optimizer_offloaded: bool = placement(False)
    # How weights, gradients and optimizer state lie on the ranks. (Last, since from here on the name is the field's.)
    placement: Placement = placement(Placement.ZERO1)

    def __post_init__(self) -> None:
        for names, is_good, wanted in RANGES:
            for name in names:
                if not is_good(getattr(self, name)):
                    raise ConfigError(f"train.{name} is {getattr(self, name)}; it must be {wanted}")
        self._check_schedule()
        self._check_objective()
        self._check_placement()

    def _check_schedule(self) -> None:
        if not 0 <= self.min_lr <= self.lr:
            raise ConfigError(f"train.min_lr is {self.min_lr}; it must lie between 0 and train.lr {self.lr}")
        if not 0 <= self.warmup_steps < self.steps:
            raise ConfigError(
                f"train.warmup_steps is {self.warmup_steps}; it must be at least 0 and below train.steps {self.steps}"
            )
        most = self.steps - self.warmup_steps
        if self.schedule is Schedule.WSD and not 0 < self.decay_steps <= most:
            raise ConfigError(
                f"train.decay_steps is {self.decay_steps}; schedule wsd needs 1 to {most}, the steps after the warm-up"
            )
        if self.schedule is not Schedule.WSD and self.decay_steps:
            raise ConfigError(
                f"train.decay_steps is {self.decay_steps}; {self.schedule.value} has no such part, leave it out"
            )

    def _check_objective(self) -> None:
        how = self.objective
        if how is not Objective.PREFERENCE and self.preference != PreferenceConfig():
            raise ConfigError(f"train.preference has no effect on objective {how.value}; leave it out")
        if how is Objective.PREFERENCE and self.eval_every_steps:
            raise ConfigError(
                f"train.eval_every_steps is {self.eval_every_steps}, but it measures held-out text or conversations, "
                f"and objective {how.value} has a pack without; leave it at 0"
            )
        if how is not Objective.PREFERENCE:
            return
        if self.start.takes is not Takes.WEIGHTS:
            raise ConfigError(
                "train.objective is preference, which is measured against the weights that the run begins with; give "
                "train.start with takes=weights"
            )
        for name, is_set in (("z_loss", self.z_loss > 0), ("spikes.is_on", self.spikes.is_on)):
            if is_set:
                raise ConfigError(f"train.{name} is of no use to objective preference; leave it out")

    def _check_placement(self) -> None:
        if self.balance_every_steps and (
            self.placement not in (Placement.ZERO1, Placement.REPLICATED) or self.sum is Sum.FAST
        ):
            raise ConfigError(
                f"train.balance_every_steps is {self.balance_every_steps}; placement {self.placement.value} with sum "
                f"{self.sum.value} cannot move micro-batches, take zero1 or replicated with sum canonical"
            )
        if self.node_ranks and self.placement is not Placement.HSDP:
            raise ConfigError(
                f"train.node_ranks is {self.node_ranks}, which placement {self.placement.value} has no use for; "
                "leave it out, or take placement hsdp"
            )
        if self.is_optimizer_offloaded and not self.placement.deepspeed_stage:
            raise ConfigError(
                f"train.is_optimizer_offloaded is set, but placement {self.placement.value} offloads nothing; "
                "leave it out, or take placement deepspeed1, deepspeed2 or deepspeed3"
            )
        if not self.is_resharded and self.placement not in (Placement.FSDP2, Placement.HSDP):
            raise ConfigError(
                f"train.is_resharded is off, which placement {self.placement.value} has no use for; "
                "leave it out, or take placement fsdp2 or hsdp"
            )

    def is_saved(self, step: int) -> bool:
        """Whether a step ends with a checkpoint, and its ledger line with a state root."""
        return step % self.save_every_steps == 0 or step == self.steps

    def decided_at(self, step: int) -> int:
        """The first step after which nothing can make this one void: with the spike policy, the next saved one."""
        return next(later for later in range(step, self.steps + 1) if not self.spikes.is_on or self.is_saved(later))

    def is_kept(self, step: int) -> bool:
        """Whether the artifact keeps the checkpoint of a step."""
        return self.is_saved(step) and (step % self.keep_every_steps == 0 or step == self.steps)

    def is_evaluated(self, step: int) -> bool:
        """Whether a step's ledger line holds the loss on held-out text."""
        return self.eval_every_steps > 0 and (step % self.eval_every_steps == 0 or step == self.steps)

    def is_digested(self, step: int) -> bool:
        """Whether a step's ledger line holds the root over its micro-batch gradients."""
        return self.sum is Sum.CANONICAL and step % self.grad_digest_every_steps == 0
