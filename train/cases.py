"""The kernels of forward and backward at a recipe's shapes, as cases for selftests.py."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from core.profile import Attention as AttentionKernel
from model.attention import ATTEND, visibility
from model.init import initialize
from model.layers import NARROW, RMSNorm, narrowed
from model.transformer import next_token_loss
from train.config import Optimizer
from train.forward import new_model, run_as_asked
from train.muon import orthogonalize
from train.recipe import Recipe
from train.selftests import Kernel, optimizer_kernels, values

Function = Callable[..., Tensor]


def kernels_of(recipe: Recipe, *, seq_len: int, device: str = "cpu") -> list[Kernel]:
    """Everything that a step of the recipe computes, for windows of `seq_len` tokens, and the other attention."""
    return [
        *_products(recipe, seq_len=seq_len, device=device),
        *_attentions(recipe, seq_len=seq_len, device=device),
        *_elementwise(recipe, seq_len=seq_len, device=device),
        *_losses(recipe, seq_len=seq_len, device=device),
        *optimizer_kernels(recipe, device=device),
        _orthogonalization(recipe, device=device),
        _micro_batch(recipe, seq_len=seq_len, device=device),
    ]


def _products(recipe: Recipe, *, seq_len: int, device: str) -> list[Kernel]:
    """The linear maps by role, each with both of its gradients, in the type that the profile computes in."""
    model, tokens, dtype = recipe.model, recipe.train.micro_batch * seq_len, NARROW[recipe.profile.compute]
    roles = {
        "wq, wo": (model.dim, model.dim),
        "wk, wv": (model.dim, model.kv_dim),
        "w1, w3": (model.dim, model.ffn_dim),
        "w2": (model.ffn_dim, model.dim),
        "head": (model.dim, model.vocab_size),
    }

    def product(x: Tensor, weight: Tensor) -> Tensor:
        return functional.linear(narrowed(x, dtype), narrowed(weight, dtype))

    return [
        _differentiated(
            f"product {role}, {recipe.profile.compute.value}",
            product,
            [values(tokens, width, seed=0, device=device), values(out, width, seed=1, device=device)],
            narrowed(values(tokens, out, seed=2, device=device), dtype),
        )
        for role, (width, out) in roles.items()
    ]


def _attentions(recipe: Recipe, *, seq_len: int, device: str) -> list[Kernel]:
    """All attention kernels on windows of two documents; the recipe needs the one of its profile."""
    model, windows, dtype = recipe.model, recipe.train.micro_batch, NARROW[recipe.profile.compute]
    document_BT = (torch.arange(seq_len) >= seq_len // 2).long().expand(windows, -1)
    is_visible = visibility(document_BT, new=seq_len, seen=0).to(device)
    heads = (model.n_heads, model.n_kv_heads, model.n_kv_heads, model.n_heads)
    *operands, upstream = [
        narrowed(values(windows, count, seq_len, model.head_dim, seed=seed, device=device), dtype)
        for seed, count in enumerate(heads)
    ]

    def case(kernel: AttentionKernel, attend: Function) -> Kernel:
        return _differentiated(
            f"attention {kernel.value}, {recipe.profile.compute.value}",
            lambda q, k, v: attend(q, k, v, is_visible),
            operands,
            upstream,
            is_required=recipe.profile.attention is kernel,
        )

    return [case(kernel, attend) for kernel, attend in ATTEND.items()]


def _elementwise(recipe: Recipe, *, seq_len: int, device: str) -> list[Kernel]:
    """What looks at one position alone."""
    model, tokens = recipe.model, recipe.train.micro_batch * seq_len

    def root_mean_square(x: Tensor, weight: Tensor) -> Tensor:
        normed: Tensor = torch.func.functional_call(RMSNorm(model.dim, eps=model.norm_eps), {"weight": weight}, (x,))
        return normed

    def gated(x: Tensor, y: Tensor) -> Tensor:
        return functional.silu(x) * y

    inner, outer = (tokens, model.dim), (tokens, model.ffn_dim)
    norm_operands = [values(*inner, seed=0, device=device), values(model.dim, seed=1, device=device)]
    gate_operands = [values(*outer, seed=seed, device=device) for seed in (0, 1)]
    logits = values(tokens, model.vocab_size, seed=0, device=device)
    is_capped = model.logit_softcap > 0
    return [
        _differentiated("root mean square", root_mean_square, norm_operands, values(*inner, seed=2, device=device)),
        _differentiated("silu and gate", gated, gate_operands, values(*outer, seed=2, device=device)),
        _differentiated("tanh", torch.tanh, [logits], logits.flip(0), is_required=is_capped),
    ]


def _losses(recipe: Recipe, *, seq_len: int, device: str) -> list[Kernel]:
    """From logits to a number, from tokens to vectors, and the numbers of documents."""
    model, tokens = recipe.model, recipe.train.micro_batch * seq_len
    logits = values(tokens, model.vocab_size, seed=0, device=device)
    ids = (values(tokens, seed=1, device=device).abs() * model.vocab_size).long() % model.vocab_size
    table = values(model.vocab_size, model.dim, seed=2, device=device)
    starts = (ids % 7 == 0).view(recipe.train.micro_batch, seq_len)
    one = torch.ones((), device=device)

    def loss(x: Tensor) -> Tensor:
        return functional.cross_entropy(x, ids, reduction="sum")

    def z_loss(x: Tensor) -> Tensor:
        return x.logsumexp(-1).square().sum()

    def look_up(weight: Tensor) -> Tensor:
        return functional.embedding(ids, weight)

    return [
        _differentiated("cross entropy", loss, [logits], one),
        _differentiated("logsumexp", z_loss, [logits], one, is_required=recipe.train.z_loss > 0),
        _differentiated("embedding", look_up, [table], values(tokens, model.dim, seed=3, device=device)),
        Kernel(name="cumsum", operands=[starts], run=lambda operands: [operands[0].cumsum(dim=1)]),
    ]


def _orthogonalization(recipe: Recipe, *, device: str) -> Kernel:
    """Muon's, on the largest matrix of a block, which it always gets whole."""
    return Kernel(
        name="Muon's orthogonalization",
        operands=[values(recipe.model.ffn_dim, recipe.model.dim, seed=0, device=device)],
        run=lambda operands: [orthogonalize(operands[0], iterations=recipe.train.muon.iterations)],
        is_required=recipe.train.optimizer is Optimizer.MUON,
    )


def _micro_batch(recipe: Recipe, *, seq_len: int, device: str) -> Kernel:
    """A micro-batch of the model with one block, run as the profile asks: compiled if it does."""
    small = replace(recipe, model=replace(recipe.model, n_layers=1))
    model = new_model(small)
    initialize(model, seed=0, std=recipe.model.init_std)
    model.to(device)
    run_as_asked(model, small)
    parameters = list(model.parameters())
    rows = recipe.train.micro_batch
    ids = values(rows * (seq_len + 1), seed=0).abs().mul_(recipe.model.vocab_size).long() % recipe.model.vocab_size
    tokens = ids.view(rows, seq_len + 1).to(device)

    def run(weights: Sequence[Tensor]) -> list[Tensor]:
        for parameter, weight in zip(parameters, weights, strict=True):
            parameter.data = weight
        loss = next_token_loss(model, tokens, int(ids[0]), z_loss=recipe.train.z_loss)
        return [loss.told.detach(), *torch.autograd.grad(loss.followed, parameters)]

    how = "compiled" if recipe.profile.is_compiled else "as it stands"
    weights = [parameter.detach().clone() for parameter in parameters]
    return Kernel(name=f"micro-batch of one block, {how}", operands=weights, run=run)


def _differentiated(
    name: str, function: Function, operands: list[Tensor], upstream: Tensor, *, is_required: bool = True
) -> Kernel:
    """A function with the gradients of all its operands."""

    def run(given: Sequence[Tensor]) -> list[Tensor]:
        leaves = [operand.detach().requires_grad_() for operand in given]
        out = function(*leaves)
        return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]

    return Kernel(name=name, operands=operands, run=run, is_required=is_required)
