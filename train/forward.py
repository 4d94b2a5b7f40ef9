"""How a model's forward is run: block by block as it stands, compiled, or computed again for the backward.

Compiling changes bits and is the profile's; computing again does not and is placement. Both are put on a model before
it is laid out on ranks, and on the methods alone, so fully_shard's hooks stay outside of what is compiled.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch._functorch import config as partitioning
from torch.utils.checkpoint import checkpoint

from core.profile import Device
from model.transformer import Transformer
from train.compiled import keep_compiled, kept_folder
from train.recipe import Recipe

Options = dict[str, str | int | bool | Callable[..., object]]

# Said outright, since torch takes other defaults from the environment: nothing is chosen by a clock.
OPTIONS: Options = {
    "max_autotune": False,
    "max_autotune_gemm": False,
    "coordinate_descent_tuning": False,
}
# For a GPU inductor writes Triton's kernels, and by default times several block sizes of pointwise kernels and of
# reductions, and padded products against plain ones (torch 2.13: _inductor/runtime/triton_heuristics.py and
# fx_passes/pad_mm.py). A reduction's block size is an order of addition. `deterministic` takes it by rule, pads
# nothing, and refuses to time anything but what cannot change a bit: pointwise kernels, of which the others leave one.
# Not exercised here: no GPU was there.
GPU_OPTIONS: Options = OPTIONS | {
    "deterministic": True,
    "max_autotune_pointwise": False,
    "triton.autotune_pointwise": False,
    "autotune_local_cache": False,
    "benchmark_fusion": False,
}


def new_model(recipe: Recipe) -> Transformer:
    """The model of a recipe under its profile; its weights are still to be filled."""
    profile = recipe.profile
    return Transformer(
        recipe.model, profile.attention, compute=profile.compute, is_stream_narrow=profile.is_stream_narrow
    )


def run_as_asked(model: Transformer, recipe: Recipe) -> None:
    """Compile and recompute as the recipe says."""
    if recipe.profile.is_compiled:
        keep_compiled(model, kept=kept_folder(recipe.profile))
        compile_parts(model, options=GPU_OPTIONS if recipe.profile.device is Device.CUDA else OPTIONS)
    if recipe.train.is_recomputed:
        recompute_blocks(model)


def compile_parts(model: Transformer, *, options: Options = OPTIONS) -> None:
    """Have each block and the loss compiled at first use, for the one shape that training has.

    All blocks share one compiled graph. For the backward it keeps nothing that elementwise operations can make again of
    what is kept anyway: narrow weights, normed streams and gated products are made twice, to the same bits.
    """
    partitioning.ban_recompute_materialized_backward = False
    for block in model.blocks:
        block.forward = torch.compile(block.forward, dynamic=False, fullgraph=True, options=options)
    model.losses = torch.compile(model.losses, dynamic=False, fullgraph=True, options=options)  # type: ignore[method-assign]
    model.row_losses = torch.compile(model.row_losses, dynamic=False, fullgraph=True, options=options)  # type: ignore[method-assign]


def recompute_blocks(model: Transformer) -> None:
    """Keep only each block's input until its backward, and compute the block again then (Chen et al. 2016).

    arXiv:1604.06174, section 4.1. The same operations run again on the same input: no bit changes.
    """
    for block in model.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
