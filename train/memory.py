"""Bytes that a rank holds at its peak: formulas of recipe, placement and number of ranks. Free of torch.

Counted is what training asks the C library for (`asked`). On top come the process with Python and torch in it
(`process_bytes`) and what the library's heap keeps of pieces that were given back (`heap`). tests/train/test_memory.py
holds `asked` against the peaks of real processes whose heap keeps nothing, and `total` with the process against those
of processes as they are; `heap` itself is a round guess. What each placement holds is in held.py.

Where there are GPUs, `sides` tells what lies on a rank's GPU and what in its node's memory: from reading the code and
torch's and DeepSpeed's documentation, not exercised here. A CUDA context, NCCL's buffers and pages of DeepSpeed's own
are not in it.
"""

from dataclasses import dataclass, replace

from core.profile import Attention, Compute, Device, ProfileConfig
from train.config import Optimizer, Placement
from train.held import FP32, Cluster, held, matrix_parameters, offloaded_weights, owned_bytes
from train.recipe import Recipe

BF16 = 2
# A rank that has imported torch and has trained a model of nearly nothing: 0.25 to 0.39 GB on the machines measured so
# far. How much of torch's libraries the kernel maps differs by machine; a plan takes the most that was seen.
PROCESS_BYTES = 400_000_000
# What torch's compiler takes of a process besides: 0.10 GB where what it made is kept, 0.13 where it makes it.
COMPILER_BYTES = 150_000_000
# The least that was seen; ranks of a machine share much of it, so that it counts once where a run is refused.
LEAST_PROCESS_BYTES = 250_000_000
# How far `asked` may lie from what a process really asks for: tests hold it to that.
MARGIN = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one rank. `weights`, `optimizer`, `snapshot` and `rollback` stay; the others come and go.

    weights      all of them, a shard, or partitions
    optimizer    moments of this rank's part
    snapshot     of the chunks of weights and moments that the first rank owns, those that a cut goes through, copied at
                 a commit and held from then on; with GPUs all
    late         the others, which are copied only if the disk has not taken them when the next update comes
    rollback     the copy that the spike policy goes back to
    gathered     whole weights of the units at work
    partials     sums of gradients that wait for others
    activations  of one micro-batch from forward to the first gradients
    gradients    of one micro-batch on their way out of autograd, when little is left of its activations
    exchange     when the ranks exchange the step's sums, in place of partials and gradients
    update       when weights are updated and gathered, in place of exchange
    heap         what glibc's heap keeps besides
    """

    weights: int
    optimizer: int
    snapshot: int
    late: int
    rollback: int
    gathered: int
    partials: int
    activations: int
    gradients: int
    exchange: int
    update: int
    heap: int

    @property
    def staying(self) -> int:
        """What is there all the time."""
        return self.weights + self.optimizer + self.snapshot + self.rollback

    @property
    def coming(self) -> int:
        """The most of what comes and goes."""
        computing = self.gathered + self.partials + max(self.activations, self.gradients)
        return max(computing, self.exchange, self.update)

    @property
    def asked(self) -> int:
        """What training asks for at its peak, where the disk keeps up."""
        return self.staying + self.coming

    @property
    def least(self) -> int:
        """What it needs for certain: `asked`, were it as far too high as it may be."""
        return int((1 - MARGIN) * self.asked)

    @property
    def total(self) -> int:
        """The peak without the process, with the slowest disk."""
        return self.staying + max(self.coming, max(self.exchange, self.update) + self.late) + self.heap


NOTHING = Memory(**dict.fromkeys(Memory.__slots__, 0))


@dataclass(frozen=True, slots=True)
class Sides:
    """Where a rank's bytes lie: on its GPU, if it has one, and in its node's memory."""

    gpu: Memory | None
    host: Memory


def sides(recipe: Recipe, *, cluster: Cluster, seq_len: int) -> Sides:
    """Without GPUs all is the host's; with them a copy for a checkpoint, and what DeepSpeed offloads. Not exercised."""
    whole = memory(recipe, cluster=cluster, seq_len=seq_len)
    if recipe.profile.device is not Device.CUDA:
        return Sides(None, whole)
    # torch rounds page-locked pieces up to a power of two (ATen/core/CachingHostAllocator.h).
    pinned = max(whole.snapshot - 1, 0).bit_length()
    rounded = (1 << pinned) - whole.snapshot if whole.snapshot else 0
    gpu, host = replace(whole, snapshot=0, late=0), replace(NOTHING, snapshot=whole.snapshot, late=whole.late)
    if recipe.train.is_optimizer_offloaded:
        # At the update the sum comes to the host, and is joined there (held.py).
        moved, slice_ = (
            offloaded_weights(recipe, cluster.ranks),
            -(-FP32 * recipe.model.parameter_count // cluster.ranks),
        )
        gpu = replace(gpu, weights=whole.weights - moved, optimizer=0, rollback=0, update=whole.update - slice_)
        host = replace(host, weights=moved, optimizer=whole.optimizer, rollback=whole.rollback, update=slice_)
    return Sides(
        replace(gpu, heap=heap_bytes(gpu)),
        replace(host, heap=heap_bytes(host) + rounded),
    )


def memory(recipe: Recipe, *, cluster: Cluster, seq_len: int) -> Memory:
    """The peak of the busiest rank."""
    model, train = recipe.model, recipe.train
    part = held(recipe, cluster=cluster)
    sharers = 1 if train.placement is Placement.REPLICATED else cluster.ranks
    moments = -(-FP32 * moment_count(recipe) // sharers)
    own = -(-FP32 * model.parameter_count // sharers) + moments
    lent, cut = owned_bytes(recipe, cluster)
    if recipe.profile.device is Device.CUDA:
        lent, cut = 0, lent + cut
    kept = (model.parameter_count + moment_count(recipe)) / model.parameter_count
    asked = Memory(
        weights=part.weights,
        optimizer=moments,
        snapshot=int(cut * kept),
        late=int(lent * kept),
        rollback=own if train.spikes.is_on else 0,
        gathered=part.gathered,
        partials=part.partials,
        activations=activation_bytes(recipe, seq_len=seq_len, is_recomputed=train.is_recomputed),
        gradients=part.gradients,
        exchange=part.exchange,
        update=part.update + _turned_bytes(recipe, ranks=cluster.ranks),
        heap=0,
    )
    return replace(asked, heap=heap_bytes(asked))


def process_bytes(profile: ProfileConfig) -> int:
    """Of a rank that trains nearly nothing."""
    return PROCESS_BYTES + (COMPILER_BYTES if profile.is_compiled else 0)


def heap_bytes(asked: Memory) -> int:
    """What glibc's heap keeps besides, taken to be as much again as comes and goes.

    Pieces below 32 MB are not given back at once, and leave holes that may not fit what is asked for next (mallopt(3),
    M_MMAP_THRESHOLD).
    """
    return asked.coming


def moment_count(recipe: Recipe) -> int:
    """Values that the optimizer keeps of the whole model: two a weight, one of a matrix that Muon takes."""
    inner = matrix_parameters(recipe.model) if recipe.train.optimizer is Optimizer.MUON else 0
    return 2 * recipe.model.parameter_count - inner


def activation_bytes(recipe: Recipe, *, seq_len: int, is_recomputed: bool = False) -> int:
    """What backward needs of a micro-batch's forward, and what stands beside it when backward begins.

    As operations stand in model/: the gradients of the logits. Compiled (forward.py), narrow weights are there for one
    block and for the head alone.
    """
    model, is_narrow = recipe.model, recipe.profile.compute is Compute.BF16
    tokens = recipe.train.micro_batch * seq_len
    block = tokens * _block_bytes_per_token(recipe, seq_len=seq_len)
    # In backward the gradients of one block's attention and feed-forward stand beside what was kept of it.
    blocks = model.n_layers * tokens * FP32 * model.dim + block if is_recomputed else model.n_layers * block
    kept = matrix_parameters(model) // (model.n_layers if is_recomputed or recipe.profile.is_compiled else 1)
    weights = BF16 * (kept + model.vocab_size * model.dim) if is_narrow else 0
    if recipe.profile.is_compiled:
        beside = max(_head_bytes(recipe, tokens=tokens), block)
    else:
        # Kept: log-probabilities; for a moment: their gradient and the logits', in bf16 once more.
        logits = FP32 * (3 + (model.logit_softcap > 0) + (recipe.train.z_loss > 0)) + (BF16 if is_narrow else 0)
        beside = tokens * logits * model.vocab_size
    return blocks + weights + tokens * FP32 * 3 * model.dim + beside


def _head_bytes(recipe: Recipe, *, tokens: int) -> int:
    """Compiled: logits, which become their gradient in place, and the gradient of the head's weights beside them.

    They are gone when the last block's backward begins, whose gradients take about what is kept of a block.
    """
    size, wide = (BF16, BF16 + FP32) if recipe.profile.compute is Compute.BF16 else (FP32, FP32)
    return recipe.model.vocab_size * (size * tokens + wide * recipe.model.dim)


def _turned_bytes(recipe: Recipe, *, ranks: int) -> int:
    """Muon: this rank's directions, copies that are sent and come, its matrices before and after, and the iteration."""
    if recipe.train.optimizer is not Optimizer.MUON:
        return 0
    model = recipe.model
    largest = FP32 * model.dim * max(model.dim, model.ffn_dim)
    return (3 if ranks == 1 else 6) * -(-FP32 * matrix_parameters(model) // ranks) + 4 * largest


def _block_bytes_per_token(recipe: Recipe, *, seq_len: int) -> int:
    """What autograd keeps of a block.

    Two norms keep input and normed input in fp32, and their output; attention its queries and what goes into wo, keys
    and values; the feed-forward the two products, silu's result and the gated product. All but the first are of the
    products' type.
    """
    model = recipe.model
    size = BF16 if recipe.profile.compute is Compute.BF16 else FP32
    stream, wide = FP32 * 4 * model.dim, 4 * model.dim + 2 * model.kv_dim + 4 * model.ffn_dim
    stream += FP32 * 2 * (model.dim + model.kv_dim) if model.is_qk_normed else 0
    if recipe.profile.is_compiled:
        # The stream, rotated queries and keys, values, what goes into wo and comes out of it, and the two products.
        stream, wide = FP32 * model.dim, 3 * model.dim + 2 * model.kv_dim + 2 * model.ffn_dim
    if recipe.profile.attention is not Attention.SDPA:
        # The shares, and one byte a pair of positions for the mask.
        # Of four blocks of queries each has the keys up to its own last query: 5/8 (model/attention.py).
        is_blocked = recipe.profile.attention is Attention.BLOCKED and seq_len >= 512
        keys = seq_len * 5 // 8 if is_blocked else seq_len
        return stream + size * (wide + model.n_heads * keys) + seq_len
    # The fused kernel keeps its output, and keys and values repeated for every query head.
    return stream + size * (wide + 3 * model.dim)
