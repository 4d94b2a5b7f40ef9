"""Placements: how weights, gradients and optimizer state lie on the ranks, and how gradients are brought together.

    replicated   everything on every rank (replicated.py)
    zero1        all weights on every rank, a slice of the optimizer state (zero1.py)
    fsdp2        a shard of everything on every rank (fsdp2.py)
    hsdp         shards inside a node, the same on every node; optimizer state in slices of shards (hsdp.py)
    deepspeed1   DeepSpeed's engine at ZeRO stage 1; deepspeed2 and deepspeed3 at the others (deepspeed_zero.py)

All give the same bits, because all add the gradients of the micro-batches in the canonical order (canonical.py) and
everything else is done element by element, or (Muon) on whole matrices.
"""

from torch.distributed.device_mesh import init_device_mesh

from model.transformer import Transformer
from train.config import Placement, TrainConfig
from train.fsdp2 import Fsdp2
from train.groups import groups_of
from train.hsdp import Hsdp
from train.placed import Placed
from train.replicated import Replicated
from train.runtime import World
from train.zero1 import Zero1


def place(model: Transformer, *, world: World, config: TrainConfig) -> Placed:
    """Lay a model, filled with its weights, out on the ranks.

    Raises ConfigError if DeepSpeed is asked for and is not installed.
    """
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    groups = groups_of(shapes, train=config, model=model.config)
    order, count, is_resharded = config.sum, config.micro_batches, config.is_resharded
    if config.placement in (Placement.ZERO1, Placement.REPLICATED):
        # fully_shard moves block by block itself.
        model.to(world.device)
    if config.placement is Placement.ZERO1:
        return Zero1(model, world=world, groups=groups, order=order, micro_batches=count)
    if config.placement is Placement.REPLICATED:
        return Replicated(model, world=world, groups=groups, order=order, micro_batches=count)
    if config.placement is Placement.HSDP:
        return Hsdp(model, world=world, groups=groups, order=order, micro_batches=count, is_resharded=is_resharded)
    if config.placement.deepspeed_stage:
        # What it needs is installed only where it is wanted.
        from train.deepspeed_zero import DeepSpeedZero

        return DeepSpeedZero(
            model,
            stage=config.placement.deepspeed_stage,
            is_offloaded=config.is_optimizer_offloaded,
            world=world,
            groups=groups,
            order=order,
            micro_batches=count,
        )
    mesh = init_device_mesh(world.device, (world.size,))
    return Fsdp2(
        model,
        mesh=mesh,
        world=world,
        groups=groups,
        order=order,
        micro_batches=range(count),
        is_resharded=is_resharded,
    )
