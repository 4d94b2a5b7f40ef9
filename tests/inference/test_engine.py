"""Decoding: greedy equals the whole window, sampling is a pure function of its seed and follows the shares."""

from pathlib import Path

import pytest
import torch

from core.errors import ConfigError
from core.profile import Attention
from inference.engine import GREEDY, Sampling, choose, generate
from inference.weights import load_model
from model.config import ModelConfig
from model.transformer import Transformer

NEVER = -1
PROMPT = [1, 20, 30, 40]


@pytest.fixture
def model(checkpoint: Path, config: ModelConfig) -> Transformer:
    return load_model(checkpoint, config=config, attention=Attention.EXPLICIT)


@torch.inference_mode()
def test_greedy_decoding_takes_what_the_whole_window_finds_likeliest(model: Transformer) -> None:
    ids = generate(model, PROMPT, max_tokens=12, stop_id=NEVER, sampling=GREEDY)
    whole_BTV = model(torch.tensor([PROMPT + ids]))
    assert ids == whole_BTV[0, len(PROMPT) - 1 : -1].argmax(-1).tolist()


def test_decoding_stops_before_the_stop_id_and_where_positions_end(model: Transformer) -> None:
    ids = generate(model, PROMPT, max_tokens=12, stop_id=NEVER, sampling=GREEDY)
    stopped = generate(model, PROMPT, max_tokens=12, stop_id=ids[5], sampling=GREEDY)
    assert stopped == ids[: ids.index(ids[5])]
    assert len(generate(model, PROMPT, max_tokens=1000, stop_id=NEVER, sampling=GREEDY)) == 64 - len(PROMPT)


@pytest.mark.parametrize("prompt", [[], [1] * 65])
def test_a_prompt_that_no_position_fits_is_refused(model: Transformer, prompt: list[int]) -> None:
    with pytest.raises(ConfigError, match="the model takes 1 to 64"):
        generate(model, prompt, max_tokens=1, stop_id=NEVER, sampling=GREEDY)


def test_a_seed_and_a_stream_draw_the_same_tokens_and_others_do_not(model: Transformer) -> None:
    def draw(*, seed: int, stream: str) -> list[int]:
        sampling = Sampling(temperature=1.0, top_p=0.95, seed=seed)
        return generate(model, PROMPT, max_tokens=12, stop_id=NEVER, sampling=sampling, stream=stream)

    assert draw(seed=1, stream="a") == draw(seed=1, stream="a")
    assert draw(seed=1, stream="a") != draw(seed=2, stream="a")
    assert draw(seed=1, stream="a") != draw(seed=1, stream="b")


def test_tokens_are_drawn_in_proportion_to_their_shares() -> None:
    logits_V = torch.tensor([0.1, 0.6, 0.3]).log()
    counts = drawn(logits_V, Sampling(temperature=1.0, top_p=1.0, seed=1), times=2000)
    # Five standard deviations of a share near 1/2 among 2,000.
    assert all(abs(count / 2000 - share) < 0.056 for count, share in zip(counts, [0.1, 0.6, 0.3], strict=True))


def test_top_p_keeps_the_fewest_likeliest_tokens_that_reach_it() -> None:
    logits_V = torch.tensor([0.1, 0.6, 0.3]).log()
    assert drawn(logits_V, Sampling(temperature=1.0, top_p=0.85, seed=1), times=300)[0] == 0
    assert drawn(logits_V, Sampling(temperature=1.0, top_p=0.5, seed=1), times=300) == [0, 300, 0]


def test_a_low_temperature_sharpens() -> None:
    logits_V = torch.tensor([0.1, 0.6, 0.3]).log()
    # Shares to the power of 4: 0.6 has 0.94 of them.
    assert drawn(logits_V, Sampling(temperature=0.25, top_p=1.0, seed=1), times=500)[1] > 430


@pytest.mark.parametrize(("temperature", "top_p"), [(-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.0), (1.0, 1.1)])
def test_impossible_sampling_is_refused(temperature: float, top_p: float) -> None:
    with pytest.raises(ConfigError, match=r"temperature is|top_p is"):
        Sampling(temperature=temperature, top_p=top_p, seed=1)


def drawn(logits_V: torch.Tensor, sampling: Sampling, *, times: int) -> list[int]:
    """How often each token is drawn."""
    tokens = [choose(logits_V, sampling, stream="s", position=position) for position in range(times)]
    return [tokens.count(token) for token in range(len(logits_V))]
