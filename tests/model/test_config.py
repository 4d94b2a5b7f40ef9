"""The shape of a model is checked, and its counts are those of the real thing."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from core.codetree import ROOT
from core.config import load
from core.errors import ConfigError
from core.profile import Attention
from model.config import ModelConfig
from model.transformer import Transformer


@pytest.mark.parametrize("is_tied", [False, True])
def test_parameter_count_is_that_of_the_real_model(config: ModelConfig, is_tied: bool) -> None:
    config = replace(config, is_embedding_tied=is_tied)
    model = Transformer(config, Attention.EXPLICIT)
    assert config.parameter_count == sum(parameter.numel() for parameter in model.parameters())


def test_flops_per_token_by_hand(config: ModelConfig) -> None:
    # Per layer: wq and wo 32 x 32, wk and wv 32 x 16, three of 32 x 64; the head is 32 x 100.
    multiplied = 2 * (2 * 1024 + 2 * 512 + 3 * 2048) + 3200
    assert config.flops_per_token(8) == 6 * multiplied + 12 * 2 * 32 * 8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dim": 30}, "dim 30 does not divide over 4 heads; use a multiple of 4"),
        ({"n_kv_heads": 3}, "n_heads 4 does not divide over 3 key-value heads"),
        ({"dim": 36}, "a head is 9 wide"),
        ({"ffn_dim": 60}, "ffn_dim 60 leaves a vector tail"),
        ({"n_layers": 0}, "n_layers is 0; it must be above 0"),
        ({"rope_theta": -1.0}, "rope_theta is -1.0"),
        ({"init_std": float("nan")}, "init_std is nan"),
    ],
)
def test_an_impossible_shape_is_refused_in_one_line(config: ModelConfig, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(config, **change)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_smoke_recipe_holds_a_model() -> None:
    assert load("smoke", "model", ModelConfig).parameter_count > 3_000_000


def test_the_config_needs_no_torch() -> None:
    code = "import sys, model.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
