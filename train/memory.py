"""Bytes that a rank holds at its peak, and sends in a step: formulas of recipe, placement and number of ranks.

Counted is what training itself allocates, in fp32; bf16 products need less of activations. Not counted is the process,
with Python and torch in it (PROCESS_BYTES). The formulas follow zero1.py, parallel.py and model/: whoever changes what
those keep changes this, and tests/train/test_memory.py, which holds them against measured peaks. Free of torch.
"""

from dataclasses import dataclass
from itertools import pairwise

from core.errors import ConfigError
from core.profile import Attention
from model.config import ModelConfig
from train.canonical import whole_subtrees
from train.config import Optimizer, Placement, Sum
from train.recipe import Recipe

FP32 = 4
# A rank that has imported torch and has trained a model of nearly nothing: 0.25 to 0.39 GB on the machines measured so
# far. How much of torch's libraries the kernel maps differs by machine; a plan takes the most that was seen.
PROCESS_BYTES = 400_000_000
# How much more than what is asked for the process holds at its peak: freed pieces that the C library's heap keeps, and
# what gloo and fully_shard copy. Measured in the smallest runs that show it; tests/train/test_memory.py has the margin.
HELD_PER_ASKED = {Placement.ZERO1: 1.4, Placement.FSDP2: 1.9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one rank: what stays, and what is there only in a part of the step.

    weights      all of them (zero1), or a shard and those gathered for the units at work (fsdp2)
    optimizer    moments of this rank's slice
    snapshot     weights and moments of this rank's slice, copied at a commit and written while training goes on
    partials     sums of gradients of whole subtrees: one a level, log2 of the micro-batches at most
    exchange     what comes on top while gradients leave autograd or the ranks exchange them
    activations  of one micro-batch from forward to the peak in backward, at which little of `exchange` exists yet
    """

    weights: int
    optimizer: int
    snapshot: int
    partials: int
    exchange: int
    activations: int
    placement: Placement

    @property
    def total(self) -> int:
        """The peak: what stays, and the larger of the two parts of a step, with what the heap keeps."""
        asked = self.weights + self.optimizer + self.partials + max(self.exchange, self.activations)
        return self.snapshot + int(asked * HELD_PER_ASKED[self.placement])


def memory(recipe: Recipe, *, ranks: int, seq_len: int, is_recomputed: bool = False) -> Memory:
    """The peak of the busiest rank. `is_recomputed`: with activation checkpointing of every block.

    Raises ConfigError for a placement that has no formulas here.
    """
    model, train = recipe.model, recipe.train
    whole = FP32 * model.parameter_count
    slice_ = -(-whole // ranks)
    moments = moment_count(recipe)
    if train.placement not in HELD_PER_ASKED:
        known = ", ".join(placement.value for placement in HELD_PER_ASKED)
        raise ConfigError(f"there are no formulas for placement {train.placement.value}; plan with one of {known}")
    held_by = _zero1 if train.placement is Placement.ZERO1 else _fsdp2
    weights, partials, exchange = held_by(recipe, ranks=ranks)
    return Memory(
        weights=weights,
        optimizer=-(-FP32 * moments // ranks),
        snapshot=slice_ + -(-FP32 * moments // ranks),
        partials=partials,
        exchange=exchange,
        activations=activation_bytes(recipe, seq_len=seq_len, is_recomputed=is_recomputed),
        placement=train.placement,
    )


def moment_count(recipe: Recipe) -> int:
    """Values that the optimizer keeps of the whole model: two a weight, one of a matrix that Muon takes."""
    inner = _muon_parameters(recipe.model) if recipe.train.optimizer is Optimizer.MUON else 0
    return 2 * recipe.model.parameter_count - inner


def activation_bytes(recipe: Recipe, *, seq_len: int, is_recomputed: bool = False) -> int:
    """What backward needs of a micro-batch's forward, and the logits' gradients, with which backward begins."""
    model = recipe.model
    tokens = recipe.train.micro_batch * seq_len
    block = tokens * _block_bytes_per_token(recipe, seq_len=seq_len)
    # In backward the gradients of one block's attention and feed-forward stand beside what was kept of it.
    blocks = model.n_layers * tokens * FP32 * model.dim + block if is_recomputed else model.n_layers * block
    # Kept: log-probabilities; for a moment: their gradient and the logits'.
    copies = 3 + (model.logit_softcap > 0) + (recipe.train.z_loss > 0)
    return blocks + FP32 * tokens * (3 * model.dim + copies * model.vocab_size)


def sent_bytes(recipe: Recipe, *, ranks: int) -> int:
    """What the busiest rank sends in a step: gradients, weights, and Muon's matrices there and back."""
    whole, micro_batches = FP32 * recipe.model.parameter_count, recipe.train.micro_batches
    others = ranks - 1
    turned = 0
    if recipe.train.optimizer is Optimizer.MUON:
        turned = 2 * FP32 * _muon_parameters(recipe.model) * others // ranks // ranks
    if recipe.train.placement is Placement.ZERO1:
        sums = _subtrees(recipe, ranks=ranks) if recipe.train.sum is Sum.CANONICAL else 1
        return sums * whole * others // ranks + whole // ranks * others + turned
    # A unit's weights are gathered for forward and, but for the last unit's, again for backward.
    gathered = whole + FP32 * _block_parameters(recipe.model) * recipe.model.n_layers
    return -(-micro_batches // ranks) * (gathered // ranks * others + whole * others // ranks) + turned


def _zero1(recipe: Recipe, *, ranks: int) -> tuple[int, int, int]:
    """Weights, partials, exchange."""
    whole = FP32 * recipe.model.parameter_count
    own = -(-recipe.train.micro_batches // ranks)
    if recipe.train.sum is Sum.FAST:
        return whole, whole, 2 * whole
    partials = max(index.bit_count() for index in range(own)) * whole
    # Leaving autograd: the gradients and the flat copy. Exchanged: a copy of the partials, and what comes from others.
    subtrees = _subtrees(recipe, ranks=ranks)
    received = ranks * subtrees * whole // ranks if ranks > 1 else 0
    exchange = 2 * subtrees * whole + received - partials
    return whole, partials, max(2 * whole, exchange)


def _fsdp2(recipe: Recipe, *, ranks: int) -> tuple[int, int, int]:
    """Weights, partials, exchange."""
    model = recipe.model
    whole = FP32 * model.parameter_count
    block = FP32 * _block_parameters(model)
    rest = whole - model.n_layers * block
    shard = -(-whole // ranks)
    if ranks == 1:
        return whole, _levels(recipe.train.micro_batches) * whole, 2 * whole
    # The unit that holds the rest stays gathered from forward to backward, with a block and the next.
    partials = shard if recipe.train.sum is Sum.FAST else _levels(recipe.train.micro_batches) * shard
    # A unit's gradients, the rows that leave, the rows that come.
    return shard + rest + 2 * block, partials, 3 * max(rest, block)


def _levels(count: int) -> int:
    """Partial sums that one counter holds at most."""
    return max(index.bit_count() for index in range(1, count + 1))


def _subtrees(recipe: Recipe, *, ranks: int) -> int:
    """Partial sums that the busiest rank has at the end of a step."""
    count = recipe.train.micro_batches
    cuts = [count * rank // ranks for rank in range(ranks + 1)]
    return max(len(whole_subtrees(*cut)) for cut in pairwise(cuts))


def _block_parameters(model: ModelConfig) -> int:
    norms = 2 * model.dim + (2 * model.head_dim if model.is_qk_normed else 0)
    return _muon_parameters(model) // model.n_layers + norms


def _muon_parameters(model: ModelConfig) -> int:
    attention = 2 * model.dim * model.dim + 2 * model.dim * model.kv_dim
    return model.n_layers * (attention + 3 * model.dim * model.ffn_dim)


def _block_bytes_per_token(recipe: Recipe, *, seq_len: int) -> int:
    """What autograd keeps of a block.

    Two norms keep input, normed input and output; attention its queries and what goes into wo, keys and values;
    the feed-forward the two products, silu's result and the gated product.
    """
    model = recipe.model
    wide = 8 * model.dim + 2 * model.kv_dim + 4 * model.ffn_dim
    wide += 2 * (model.dim + model.kv_dim) if model.is_qk_normed else 0
    if recipe.profile.attention is Attention.EXPLICIT:
        # The shares, and one byte a pair of positions for the mask.
        return FP32 * (wide + model.n_heads * seq_len) + seq_len
    # The fused kernel keeps its output, and keys and values repeated for every query head.
    return FP32 * (wide + 3 * model.dim)
