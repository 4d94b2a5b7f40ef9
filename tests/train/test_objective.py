"""What a micro-batch costs, held against values by hand."""

import math
from typing import Any

import pytest
import torch

from core.config import identity
from core.errors import ConfigError
from core.profile import Attention
from model.init import initialize
from model.transformer import Transformer, counted_loss, next_token_loss, row_losses
from tests.models import small_config
from tests.train.configs import train_config
from train.config import Objective, PreferenceConfig, StartConfig, Takes
from train.objective import preference_loss

TOKENS = torch.tensor([[1, 5, 6, 7, 2, 1, 8, 9, 2], [1, 9, 8, 7, 6, 5, 4, 3, 2]])
EVERY = torch.ones(2, 8, dtype=torch.bool)


def model() -> Transformer:
    made = Transformer(small_config(), Attention.EXPLICIT)
    initialize(made, seed=1, std=0.02)
    return made


def test_where_every_target_counts_the_loss_is_that_of_text_to_the_bit() -> None:
    ours = model()
    for z_loss in (0.0, 1e-2):
        plain = next_token_loss(ours, TOKENS, 1, z_loss=z_loss)
        counted = counted_loss(ours, TOKENS, EVERY, bos_id=1, z_loss=z_loss)
        assert torch.equal(plain.told, counted.told) and torch.equal(plain.followed, counted.followed)


def test_parts_of_the_targets_add_up_to_all_of_them_and_one_target_is_its_own_probability() -> None:
    ours = model().requires_grad_(False)
    left = torch.zeros_like(EVERY)
    left[:, :3] = True
    whole = counted_loss(ours, TOKENS, EVERY, bos_id=1, z_loss=1e-2)
    parts = [counted_loss(ours, TOKENS, mask, bos_id=1, z_loss=1e-2) for mask in (left, ~left)]
    for name in ("told", "followed"):
        assert math.isclose(
            sum(float(getattr(part, name)) for part in parts), float(getattr(whole, name)), rel_tol=1e-6
        )
    one = torch.zeros_like(EVERY)
    one[1, 2] = True
    logits_BTV = ours(TOKENS[:, :-1], (TOKENS[:, :-1] == 1).cumsum(1))
    wanted = -torch.log_softmax(logits_BTV[1, 2], -1)[TOKENS[1, 3]]
    assert math.isclose(float(counted_loss(ours, TOKENS, one, bos_id=1).told), float(wanted), rel_tol=1e-6)


@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
def test_a_micro_batch_in_which_no_target_counts_is_exactly_zero_with_gradients_of_zero(z_loss: float) -> None:
    ours = model()
    loss = counted_loss(ours, TOKENS, ~EVERY, bos_id=1, z_loss=z_loss)
    assert float(loss.told.detach()) == float(loss.followed.detach()) == 0.0
    loss.followed.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in ours.parameters())


def test_the_sums_of_rows_are_those_of_the_rows_alone() -> None:
    ours = model()
    rows = row_losses(ours, TOKENS, EVERY, bos_id=1)
    for row in (0, 1):
        alone = counted_loss(ours, TOKENS[row : row + 1], EVERY[:1], bos_id=1).told
        assert math.isclose(float(rows[row]), float(alone), rel_tol=1e-6)


def test_dpo_by_hand() -> None:
    lost, before = torch.tensor([3.0, 7.0, 5.0, 4.0]), torch.tensor([4.0, 6.0, 5.0, 5.0])
    # Gains are 1 and -1, so the first margin is 0.5 * 2; then 0 and 1, so the second is 0.5 * -1.
    smoothed = PreferenceConfig(beta=0.5, label_smoothing=0.25)
    loss = preference_loss(lost, before, smoothed)
    assert loss.margins is not None and loss.margins.tolist() == [1.0, -0.5]
    softplus = [math.log1p(math.exp(-margin)) for margin in (1.0, -0.5)]
    assert math.isclose(
        float(preference_loss(lost, before, PreferenceConfig(beta=0.5)).told), sum(softplus), rel_tol=1e-6
    )
    turned = [math.log1p(math.exp(margin)) for margin in (1.0, -0.5)]
    assert math.isclose(float(loss.followed), 0.75 * sum(softplus) + 0.25 * sum(turned), rel_tol=1e-6)


def test_fields_that_came_later_leave_the_identity_of_other_runs_as_it_was() -> None:
    plain = identity(train_config())
    assert not {"objective", "preference"} & plain.keys() and plain["start"] == {"state_root": ""}
    assert identity(train_config(objective=Objective.SFT)) == {**plain, "objective": "sft"}


START = StartConfig(checkpoint="x", takes=Takes.WEIGHTS, weights_sha256="0" * 64)  # type: ignore[arg-type]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no start": ({"objective": Objective.PREFERENCE}, "measured against the weights that the run begins with"),
    "spikes": ({"objective": Objective.PREFERENCE, "start": START, "z_loss": 0.1}, "z_loss is of no use"),
    "evaluated": ({"objective": Objective.PREFERENCE, "start": START, "eval_every_steps": 1}, "measures held-out text"),
    "unused": ({"preference": PreferenceConfig(beta=0.2)}, "has no effect on objective next_token"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_an_objective_has_no_use_for_is_refused(what: str) -> None:
    changes, told = REFUSED[what]
    with pytest.raises(ConfigError, match=told):
        train_config(**changes)


def test_weights_alone_need_one_name() -> None:
    for given in ({}, {"state_root": "a", "weights_sha256": "b"}):
        with pytest.raises(ConfigError, match=r"one of state_root .* and weights_sha256"):
            StartConfig(checkpoint="x", takes=Takes.WEIGHTS, **given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"set train\.start\.takes=weights"):
        StartConfig(weights_sha256="b")
