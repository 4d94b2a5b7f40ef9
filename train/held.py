"""What each placement holds on a rank besides optimizer and activations: a formula a placement, in bytes.

W is all weights, N the number of ranks, u the largest unit (a block, or what is in no block), M the micro-batches. The
formulas follow zero1.py, replicated.py, fsdp2.py, hsdp.py and the deepspeed files: whoever changes what those keep
changes this, and tests/train/test_memory.py, which holds them against measured peaks. Free of torch.
"""

from dataclasses import dataclass

from core.merkle import CHUNK_BYTES
from model.config import ModelConfig
from train.canonical import BinaryCounter, contiguous_ranges, whole_subtrees
from train.config import Placement, Sum
from train.recipe import Recipe

FP32 = 4
# Of DeepSpeed's stage 3, by its defaults: weights whose next use is nearer than this many elements stay gathered.
DEEPSPEED_REUSE = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """How many ranks there are, and how many of them are one node (hsdp)."""

    ranks: int
    node_ranks: int = 1

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.ranks // self.node_ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Bytes on the busiest rank.

    weights    what stays: all of them, a shard, or DeepSpeed's partitions
    gathered   whole weights that are there while micro-batches are computed
    partials   sums of gradients that wait for others, at most, while a micro-batch is computed
    gradients  of a micro-batch on their way out of autograd, at most
    exchange   when the step's sums are exchanged, in place of partials and gradients
    update     when the weights are updated and brought to where they are needed, in place of these
    """

    weights: int
    gathered: int
    partials: int
    gradients: int
    exchange: int
    update: int


def held(recipe: Recipe, *, cluster: Cluster) -> Held:
    """The placement's bytes."""
    how = recipe.train.placement
    if how is Placement.HSDP:
        return _hsdp(recipe, cluster)
    if how is Placement.FSDP2:
        return _fsdp2(recipe, cluster.ranks)
    if how.deepspeed_stage:
        return _deepspeed(recipe, cluster.ranks)
    return _zero1(recipe, cluster.ranks)


def block_parameters(model: ModelConfig) -> int:
    """Weights of a block."""
    norms = 2 * model.dim + (2 * model.head_dim if model.is_qk_normed else 0)
    return matrix_parameters(model) // model.n_layers + norms


def matrix_parameters(model: ModelConfig) -> int:
    """Weights of all blocks' matrices, which Muon takes."""
    attention = 2 * model.dim * model.dim + 2 * model.dim * model.kv_dim
    return model.n_layers * (attention + 3 * model.dim * model.ffn_dim)


def owned_bytes(recipe: Recipe, cluster: Cluster) -> tuple[int, int]:
    """Weights in the chunks that the first rank owns, whose first element it has: those it has whole, and the cut ones.

    A placement that cuts every tensor in rows leaves tensors of up to a chunk to the first rank (pieces.py); those that
    cut all tensors laid behind each other share out evenly, but for a chunk a cut.
    """
    how, model = recipe.train.placement, recipe.model
    whole = FP32 * model.parameter_count
    if how is Placement.REPLICATED or cluster.ranks == 1:
        return whole, 0
    if how not in (Placement.FSDP2, Placement.HSDP, Placement.DEEPSPEED3):
        return whole // cluster.ranks, min(CHUNK_BYTES, whole - whole // cluster.ranks)
    parts = cluster.node_ranks if how is Placement.HSDP else cluster.ranks
    own = cut = 0
    for rows, columns, count in _matrices(model):
        size, shard = FP32 * rows * columns, FP32 * -(-rows // parts) * columns
        inner = size if shard == size else shard // CHUNK_BYTES * CHUNK_BYTES
        own += count * inner
        cut += count * (min(size, -(-shard // CHUNK_BYTES) * CHUNK_BYTES) - inner)
    slices = cluster.ranks // parts
    return own // slices, cut // slices


def _matrices(model: ModelConfig) -> list[tuple[int, int, int]]:
    """Rows, columns and number of all matrices; norms are too small to count."""
    D, KV, F = model.dim, model.kv_dim, model.ffn_dim
    inner = [(D, D, 2), (KV, D, 2), (F, D, 2), (D, F, 1)]
    outer = (model.vocab_size, D, 1 if model.is_embedding_tied else 2)
    return [outer, *((rows, columns, count * model.n_layers) for rows, columns, count in inner)]


def subtrees(micro_batches: int, *, parts: int) -> list[int]:
    """How many partial sums each of `parts` contiguous ranges of the micro-batches ends with."""
    return [len(whole_subtrees(*cut)) for cut in contiguous_ranges(micro_batches, parts)]


def waiting(micro_batches: int, *, parts: int = 1, at_once: int = 1) -> int:
    """Partial sums that wait, at most, while the next micro-batches of a range are computed, `at_once` together."""
    most = 0
    for first, last in contiguous_ranges(micro_batches, parts):
        counter: BinaryCounter[None] = BinaryCounter(lambda left, right: None)
        for index in range(first, last):
            if (index - first) % at_once == 0:
                most = max(most, len(counter.subtrees))
            counter.push(index, None)
    return most


def _zero1(recipe: Recipe, ranks: int) -> Held:
    """Also replicated, whose slices of the sum are gathered."""
    whole, count = FP32 * recipe.model.parameter_count, recipe.train.micro_batches
    slice_ = -(-whole // ranks)
    partials, exchange = _at_once(recipe, whole, ranks)
    update = slice_
    if recipe.train.placement is Placement.REPLICATED and ranks > 1:
        # The sum's slice, repeated for everyone, and the whole that comes of it; then that alone.
        exchange, update = max(exchange, slice_ + 2 * whole), whole
    elif ranks > 1:
        # The slice of the weights, repeated for everyone.
        update += whole
    elif recipe.train.sum is Sum.CANONICAL:
        update = exchange = max(subtrees(count, parts=1)) * whole
    # Each gradient moves into the flat one as it comes.
    gradients = whole + FP32 * recipe.model.dim * max(recipe.model.vocab_size, recipe.model.ffn_dim)
    return Held(weights=whole, gathered=0, partials=partials, gradients=gradients, exchange=exchange, update=update)


def _at_once(recipe: Recipe, whole: int, ranks: int) -> tuple[int, int]:
    """Partial sums, and the exchange, where sums of whole gradients are sent once a step."""
    if recipe.train.sum is Sum.FAST:
        return whole, whole
    count = recipe.train.micro_batches
    own = subtrees(count, parts=ranks)
    # The sums, a copy of them in the order of the ranks, and what comes: everyone's sums of this rank's slice.
    exchange = 2 * max(own) * whole + sum(own) * -(-whole // ranks)
    return waiting(count, parts=ranks) * whole, exchange if ranks > 1 else max(own) * whole


def _fsdp2(recipe: Recipe, ranks: int) -> Held:
    model, train = recipe.model, recipe.train
    whole, unit = FP32 * model.parameter_count, _largest_unit(model)
    shard = -(-whole // ranks)
    if ranks == 1:
        # fully_shard gathers nothing and hands over all gradients at the end.
        kept = waiting(train.micro_batches) if train.sum is Sum.CANONICAL else 1
        ending = (kept + 1) * whole
        return Held(
            weights=whole, gathered=0, partials=kept * whole, gradients=whole + unit, exchange=ending, update=whole
        )
    kept = waiting(train.micro_batches, at_once=ranks) if train.sum is Sum.CANONICAL else 1
    return Held(
        weights=shard,
        gathered=_gathered(recipe),
        partials=kept * shard,
        # A unit's gradients, the rows that leave, the rows that come; what fully_shard takes for the reduced ones.
        gradients=3 * unit + (shard if train.sum is Sum.CANONICAL else 0),
        exchange=(kept + 1) * shard,
        update=shard,
    )


def _hsdp(recipe: Recipe, cluster: Cluster) -> Held:
    """As fsdp2 inside a node; across nodes, sums over whole subtrees of shards, a unit at a time."""
    whole, unit = FP32 * recipe.model.parameter_count, _largest_unit(recipe.model)
    shard, slice_ = -(-whole // cluster.node_ranks), -(-whole // cluster.ranks)
    is_canonical, count = recipe.train.sum is Sum.CANONICAL, recipe.train.micro_batches
    own = subtrees(count, parts=cluster.nodes) if is_canonical else [1] * cluster.nodes
    kept = waiting(count, parts=cluster.nodes, at_once=cluster.node_ranks) if is_canonical else 1
    unit_shard = -(-unit // cluster.node_ranks)
    # All sums of shards; of a unit a copy of them and what comes; the slices that have been added, and joined.
    exchange = max(own) * (shard + 2 * unit_shard) + sum(own) * -(-unit_shard // cluster.nodes) + 2 * slice_
    return Held(
        weights=shard,
        gathered=_gathered(recipe),
        partials=kept * shard,
        gradients=3 * unit + (shard if is_canonical else 0),
        exchange=exchange,
        update=slice_ + 3 * unit_shard,
    )


def _deepspeed(recipe: Recipe, ranks: int) -> Held:
    """The engine has the weights and, of its partitions, a copy in fp32; the rule's gradients are a partition too."""
    model, stage = recipe.model, recipe.train.placement.deepspeed_stage
    whole, unit = FP32 * model.parameter_count, _largest_unit(model)
    slice_ = -(-whole // ranks)
    weights = whole + slice_ if stage < 3 else 2 * slice_
    gathered = 0 if stage < 3 else min(whole, FP32 * DEEPSPEED_REUSE)
    if recipe.train.sum is Sum.FAST:
        # The engine keeps gradients until it has reduced a bucket of them, here all.
        partials, gradients, exchange = slice_, 2 * whole, 2 * whole + slice_
    elif stage == 1:
        partials, exchange = _at_once(recipe, whole, ranks)
        gradients = 2 * whole
    else:
        count = waiting(recipe.train.micro_batches, at_once=ranks)
        partials, gradients, exchange = count * slice_, 3 * unit, (count + 1) * slice_
    # The sum, its copy in the engine's place, and the engine's own joined copy.
    update = 3 * slice_
    if recipe.train.is_optimizer_offloaded:
        # That place is always there, and so is, below stage 3, what updated weights pass through.
        weights, update = weights + offloaded_weights(recipe, ranks) - slice_, 2 * slice_
    return Held(
        weights=weights, gathered=gathered, partials=partials, gradients=gradients, exchange=exchange, update=update
    )


def offloaded_weights(recipe: Recipe, ranks: int) -> int:
    """DeepSpeed's optimizer on the host: its partition of the weights in fp32, and what stands ready beside it."""
    slices = 3 if recipe.train.placement.deepspeed_stage < 3 else 2
    return slices * -(-FP32 * recipe.model.parameter_count // ranks)


def _gathered(recipe: Recipe) -> int:
    """fully_shard: the unit of the rest stays from forward to backward; with it a block, and the next."""
    model = recipe.model
    whole, block = FP32 * model.parameter_count, FP32 * block_parameters(model)
    return (whole - model.n_layers * block + 2 * block) if recipe.train.is_resharded else whole


def _largest_unit(model: ModelConfig) -> int:
    block = FP32 * block_parameters(model)
    return max(block, FP32 * model.parameter_count - model.n_layers * block)
