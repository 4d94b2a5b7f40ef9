"""Continues a text token by token, with a key-value cache.

A sampled token is a pure function of (seed, stream, position) and the logits: no generator, no state. Top-p sampling
is that of Holtzman et al. 2020 (arXiv:1904.09751, section 3.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.errors import ConfigError
from core.seeds import random_bytes
from model.transformer import Cache, Transformer

UNIFORM_BITS = 53


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How tokens are chosen; temperature 0 takes the likeliest one."""

    temperature: float
    top_p: float
    seed: int

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ConfigError(f"temperature is {self.temperature}; give 0 for the likeliest token, or above")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; give a share above 0 and up to 1")


GREEDY = Sampling(temperature=0.0, top_p=1.0, seed=0)


@torch.inference_mode()
def generate(
    model: Transformer, prompt: Sequence[int], *, max_tokens: int, stop_id: int, sampling: Sampling, stream: str = ""
) -> list[int]:
    """Up to `max_tokens` ids that follow a prompt, without the stop id that may end them.

    Stops early where the model has no more positions. Raises ConfigError for a prompt longer than they are, or empty.
    """
    room = model.config.max_seq_len - len(prompt)
    if room < 0 or not prompt:
        raise ConfigError(f"the prompt has {len(prompt)} tokens, the model takes 1 to {model.config.max_seq_len}")
    cache = Cache(model.config.n_layers)
    chosen: list[int] = []
    tokens = list(prompt)
    while len(chosen) < min(max_tokens, room):
        logits_V = model(torch.tensor([tokens]), cache=cache)[0, -1]
        token = choose(logits_V, sampling, stream=stream, position=len(chosen))
        if token == stop_id:
            break
        chosen.append(token)
        tokens = [token]
    return chosen


def choose(logits_V: Tensor, sampling: Sampling, *, stream: str, position: int) -> int:
    """The next token: the likeliest (the first of equals), or one of the likeliest that together have top_p."""
    if sampling.temperature == 0:
        return int(logits_V.argmax())
    shares_V = (logits_V / sampling.temperature).softmax(-1)
    ordered_V, ids_V = shares_V.sort(descending=True, stable=True)
    # numpy adds one after the other, so the sums have the same bits everywhere.
    sums = np.cumsum(ordered_V.double().numpy())
    kept = min(int(np.searchsorted(sums, sampling.top_p)) + 1, len(sums))
    drawn = uniform(sampling.seed, stream, position) * float(sums[kept - 1])
    index = int(np.searchsorted(sums[:kept], drawn, side="right"))
    return int(ids_V[min(index, kept - 1)])


def uniform(seed: int, stream: str, position: int) -> float:
    """A number from 0 to below 1, on a grid of 2^-53."""
    drawn = int.from_bytes(random_bytes(seed, "sample", stream, position, count=8), "little")
    return float((drawn >> (64 - UNIFORM_BITS)) / (1 << UNIFORM_BITS))
