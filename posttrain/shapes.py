"""The names and shapes of a model's weights, from its configuration alone."""

import torch

from core.profile import Attention
from model.config import ModelConfig
from model.transformer import Transformer

Shapes = dict[str, tuple[int, ...]]


def shapes_of(config: ModelConfig) -> Shapes:
    """The shape of every weight by name."""
    with torch.device("meta"):
        model = Transformer(config, Attention.EXPLICIT)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
