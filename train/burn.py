"""Verb burn: products of matrices at a recipe's shapes, over and over, and the hash of what came out.

A processor that computes wrongly now and then gives itself away by rounds that differ; one that always does, by a hash
that its neighbours do not have. The matrices are drawn by seed, so within one numerics profile the hash is the same
everywhere.
"""

import sys
import time
from collections.abc import Callable, Sequence
from operator import matmul
from typing import TYPE_CHECKING

from core.cli import recipe_and_overrides
from core.errors import ConfigError, DeterministicError
from core.hashing import canonical_json, hash_value, sha256_hex
from core.profile import Compute, apply
from train.recipe import Recipe, read_recipe, window_tokens

if TYPE_CHECKING:
    from torch import Tensor

    Multiply = Callable[[Tensor, Tensor], Tensor]

Shape = tuple[int, int, int]
USAGE = "python -m train burn"
ROUNDS = "--rounds="


def main(arguments: Sequence[str]) -> None:
    """`RECIPE [--rounds=N] [key=value ...]`: write the hash, as JSON; operations a second go to standard error."""
    rounds = [argument.removeprefix(ROUNDS) for argument in arguments if argument.startswith(ROUNDS)] or ["20"]
    if not rounds[-1].isdecimal() or int(rounds[-1]) < 1:
        raise ConfigError(f"{ROUNDS}{rounds[-1]}: give 1 or more")
    name, overrides = recipe_and_overrides([word for word in arguments if not word.startswith(ROUNDS)], USAGE)
    recipe = read_recipe(name, overrides)
    apply(recipe.profile)
    shapes = shapes_of(recipe, rows=recipe.train.micro_batch * window_tokens(name, overrides, recipe=recipe))
    from model.numerics import honour  # imports torch, which must find the profile's environment

    honour(recipe.profile)
    began = time.perf_counter()
    digest = burn(shapes, rounds=int(rounds[-1]), is_narrow=recipe.profile.compute is Compute.BF16)
    operations = int(rounds[-1]) * sum(2 * m * k * n for m, k, n in shapes)
    sys.stderr.write(f"{operations / (time.perf_counter() - began) / 1e9:.1f} billion operations a second\n")
    sys.stdout.write(canonical_json({"sha256": digest}).decode() + "\n")


def shapes_of(recipe: Recipe, *, rows: int) -> list[Shape]:
    """The largest products of a micro-batch: into and out of a feed-forward layer, and to the vocabulary."""
    model = recipe.model
    return [(rows, model.dim, model.ffn_dim), (rows, model.ffn_dim, model.dim), (rows, model.dim, model.vocab_size)]


def burn(shapes: Sequence[Shape], *, rounds: int, is_narrow: bool, multiply: "Multiply" = matmul) -> str:
    """The hash of products of (m, k) and (k, n) matrices, in bf16 if narrow.

    Raises DeterministicError if a round differs from the one before.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    kind = torch.bfloat16 if is_narrow else torch.float32

    def draw(*shape: int) -> torch.Tensor:
        # Integers over a power of two: the same on every machine, which no normal distribution is.
        return (torch.randint(-(1 << 23), 1 << 23, shape, generator=generator) / (1 << 23)).to(kind)

    pairs = [(draw(m, k), draw(k, n)) for m, k, n in shapes]
    found = ""
    for number in range(rounds):
        products = [multiply(left, right).view(torch.uint8).numpy().tobytes() for left, right in pairs]
        now = hash_value([sha256_hex(product) for product in products])
        if found and now != found:
            raise DeterministicError(
                f"round {number + 1} of the same matrix products gave {now[:12]}, the rounds before {found[:12]}; "
                "this machine does not compute the same twice: take it out"
            )
        found = now
    return found
