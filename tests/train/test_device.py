"""What a run on a GPU needs and a machine without one can show: that it is refused in words."""

import pytest
import torch

from core.config import load
from core.errors import ConfigError
from core.profile import Attention
from model.config import ModelConfig
from model.transformer import Transformer
from tests.train.configs import train_config
from train.config import Placement
from train.parallel import place
from train.runtime import World, take_gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU to take")
def test_a_rank_without_a_gpu_of_its_own_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"check torch\.device failed, rank 3 of this node has no GPU, torch sees 0"):
        take_gpu(3)


def test_deepspeeds_placements_are_refused_on_a_gpu() -> None:
    model = Transformer(load("smoke", "model", ModelConfig), Attention.EXPLICIT)
    world = World(rank=0, size=1, device="cuda")
    with pytest.raises(ConfigError, match=r"placement deepspeed1 has not been built for profile\.device cuda"):
        place(model, world=world, config=train_config(placement=Placement.DEEPSPEED1))
