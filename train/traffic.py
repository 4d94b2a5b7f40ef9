"""What a rank sends to others in a step, in bytes: inside a node and across nodes, by formula. Free of torch.

Gradients, weights and Muon's matrices; the few kilobytes of losses, roots and norms are not counted.
"""

from dataclasses import dataclass

from train.config import Optimizer, Placement, Sum
from train.held import FP32, Cluster, block_parameters, matrix_parameters, subtrees
from train.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Bytes that the busiest rank sends in a step, to ranks of its own node and to those of others.

    Of placements that know no nodes (all but hsdp) everything counts as `across`: it may have to.
    """

    inside: int = 0
    across: int = 0

    @property
    def total(self) -> int:
        """Both."""
        return self.inside + self.across


def sent(recipe: Recipe, *, cluster: Cluster) -> Sent:
    """What the busiest rank sends in a step."""
    turned, how, ranks = _turned(recipe, cluster.ranks), recipe.train.placement, cluster.ranks
    if how is Placement.HSDP:
        return _hsdp(recipe, cluster)
    if how is Placement.FSDP2:
        return Sent(across=_sharded(recipe, micro_batches=recipe.train.micro_batches, ranks=ranks) + turned)
    whole = FP32 * recipe.model.parameter_count
    # A share of everything to each of the others.
    shared = whole * (ranks - 1) // ranks
    if how.deepspeed_stage == 3:
        return Sent(across=_micro_steps(recipe, ranks) * 2 * shared + turned)
    if how.deepspeed_stage == 2 and recipe.train.sum is Sum.CANONICAL:
        return Sent(across=(_micro_steps(recipe, ranks) + 1) * shared + turned)
    if how is Placement.REPLICATED:
        turned = 0
    return Sent(across=_at_once(recipe, ranks) * shared + shared + turned)


def _at_once(recipe: Recipe, ranks: int) -> int:
    """How often a rank's share of everything goes out with the gradients: a sum a subtree; two halves of a ring."""
    return max(subtrees(recipe.train.micro_batches, parts=ranks)) if recipe.train.sum is Sum.CANONICAL else 2


def _sharded(recipe: Recipe, *, micro_batches: int, ranks: int) -> int:
    """A micro-step gathers weights, blocks twice if they were given up behind forward, and sends gradients."""
    whole = FP32 * recipe.model.parameter_count
    blocks = FP32 * block_parameters(recipe.model) * recipe.model.n_layers
    gathered = whole + (blocks if recipe.train.is_resharded else 0)
    return -(-micro_batches // ranks) * (gathered + whole) * (ranks - 1) // ranks


def _hsdp(recipe: Recipe, cluster: Cluster) -> Sent:
    count = -(-recipe.train.micro_batches // cluster.nodes)
    shard = -(-FP32 * recipe.model.parameter_count // cluster.node_ranks)
    shared = shard * (cluster.nodes - 1) // cluster.nodes
    sums = max(subtrees(recipe.train.micro_batches, parts=cluster.nodes)) if recipe.train.sum is Sum.CANONICAL else 2
    return Sent(
        inside=_sharded(recipe, micro_batches=count, ranks=cluster.node_ranks),
        # Sums, the weights that were updated, and Muon's matrices, which go to whoever has least to do.
        across=(sums + 1) * shared + _turned(recipe, cluster.ranks),
    )


def _turned(recipe: Recipe, ranks: int) -> int:
    """Muon's matrices, there and back."""
    if recipe.train.optimizer is not Optimizer.MUON:
        return 0
    return 2 * FP32 * matrix_parameters(recipe.model) * (ranks - 1) // ranks // ranks


def _micro_steps(recipe: Recipe, ranks: int) -> int:
    return -(-recipe.train.micro_batches // ranks)
