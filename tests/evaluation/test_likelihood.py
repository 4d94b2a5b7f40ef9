"""Every token of a text is scored once, with the context that is claimed, whatever is computed beside it."""

import math

import pytest
import torch
from torch.nn import functional

from core.profile import Attention
from evaluation.likelihood import score, windows_of
from model.init import initialize
from model.transformer import Transformer
from tests.models import small_config

BOS = 1


@pytest.fixture(scope="module")
def model() -> Transformer:
    model = Transformer(small_config(), Attention.EXPLICIT)
    initialize(model, seed=1, std=0.3)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("seq_len", [2, 7, 8])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 9, 30, 31])
def test_every_target_is_scored_once_with_half_a_window_before_it(length: int, seq_len: int) -> None:
    windows = windows_of(length, seq_len=seq_len)
    scored = [at for window in windows for at in range(window.scored, window.end)]
    assert scored == list(range(length))
    assert all(window.length <= seq_len for window in windows)
    contexts = {at: at - window.start for window in windows for at in range(window.scored, window.end)}
    assert all(context >= min(at, seq_len - seq_len // 2) for at, context in contexts.items())


def test_a_short_text_costs_its_log_likelihood(model: Transformer) -> None:
    ids = [20, 30, 40]
    shares_TV = model(torch.tensor([[BOS, 20, 30]]))[0].double().log_softmax(-1)
    expected = -sum(float(shares_TV[at, token]) for at, token in enumerate(ids))
    (nats,) = score(model, [ids], bos_id=BOS, seq_len=16, batch=4)
    # fp32 against float64 for three logarithms of about 10.
    assert math.isclose(nats, expected, rel_tol=1e-6)


def test_a_long_text_costs_what_its_overlapping_windows_cost(model: Transformer) -> None:
    ids = [(7 * at) % 100 for at in range(1, 21)]
    whole = [BOS, *ids]

    def cost(start: int, end: int, scored: int) -> float:
        logits_TV = model(torch.tensor([whole[start:end]]))[0]
        costs_T = functional.cross_entropy(logits_TV, torch.tensor(whole[start + 1 : end + 1]), reduction="none")
        return float(costs_T[scored - start :].double().sum())

    expected = cost(0, 8, 0) + cost(4, 12, 8) + cost(8, 16, 12) + cost(12, 20, 16)
    (nats,) = score(model, [ids], bos_id=BOS, seq_len=8, batch=1)
    # The same fp32 numbers, added exactly in one place and in float64 in the other.
    assert math.isclose(nats, expected, rel_tol=1e-9)
    assert not math.isclose(nats, cost(0, 20, 0), rel_tol=1e-4), "windows do not limit the context"


def test_what_is_computed_beside_a_text_does_not_change_its_cost(model: Transformer) -> None:
    texts = [[(seed * at) % 100 for at in range(1, 3 + 5 * seed)] for seed in range(1, 8)]
    alone = [score(model, [text], bos_id=BOS, seq_len=8, batch=1)[0] for text in texts]
    together = score(model, texts, bos_id=BOS, seq_len=8, batch=5)
    # Products over more rows may round otherwise: fp32.
    assert together == pytest.approx(alone, rel=1e-5)


def test_an_empty_text_costs_nothing(model: Transformer) -> None:
    assert score(model, [[], [5]], bos_id=BOS, seq_len=8, batch=2)[0] == 0.0
