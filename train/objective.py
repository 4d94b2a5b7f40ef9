"""What a micro-batch costs, by `train.objective`, and what the sums over a step are divided by.

    next_token   the sum of -log p over all targets, by their number
    sft          the same over the targets that count, by how many count in the whole step: known before it begins
    preference   the sum over pairs of DPO's loss (Rafailov et al. 2023, arXiv:2305.18290, eq. 7), by the number of
                 pairs. With m = beta ((log p(chosen) - log q(chosen)) - (log p(rejected) - log q(rejected))), q being
                 the weights that the run began with (reference.py), it is -log sigmoid(m); with label smoothing e it is
                 -(1 - e) log sigmoid(m) - e log sigmoid(-m) (Mitchell 2023, "A note on DPO with noisy preferences")

log p of an answer is the sum over its tokens, in fp32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import ConfigError
from data.chat import Form
from data.loader import Loader
from model.transformer import Loss, counted_loss, next_token_loss, row_losses
from train.config import Objective, PreferenceConfig, TrainConfig
from train.recipe import FORMS
from train.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """Of a step's pairs: the sum of their margins m, and how many prefer what was chosen (m > 0)."""

    margin: float
    right: int


def check_form(config: TrainConfig, loader: Loader) -> None:
    """Raise ConfigError if the pack does not hold what the objective learns from."""
    wanted = Form(FORMS[config.objective])
    if loader.form is not wanted:
        raise ConfigError(
            f"train.objective is {config.objective.value}, which learns from {wanted.value}, and the pack holds "
            f"{loader.form.value}; set pack.form={wanted.value}, or another objective"
        )


def divisor(config: TrainConfig, loader: Loader, data_step: int) -> int:
    """What the sums over a step are divided by: targets, those that count, or pairs."""
    if config.objective is Objective.SFT:
        return loader.target_count(data_step)
    samples = config.micro_batches * config.micro_batch
    return samples if config.objective is Objective.PREFERENCE else samples * loader.seq_len


def micro_loss(
    model: nn.Module,
    *,
    config: TrainConfig,
    loader: Loader,
    reference: Reference | None,
    device: str,
    data_step: int,
    index: int,
) -> Loss:
    """The forward of a micro-batch."""
    tokens_BT1 = torch.from_numpy(loader.batch(data_step, index)).to(device)
    if config.objective is Objective.NEXT_TOKEN:
        return next_token_loss(model, tokens_BT1, loader.bos_id, z_loss=config.z_loss)
    counted_BT = torch.from_numpy(loader.counted(data_step, index)).to(device)
    if config.objective is Objective.SFT:
        return counted_loss(model, tokens_BT1, counted_BT, bos_id=loader.bos_id, z_loss=config.z_loss)
    assert reference, "the caller has computed it"
    lost_B = row_losses(model, tokens_BT1, counted_BT, bos_id=loader.bos_id)
    before_B = torch.from_numpy(reference.losses(loader.samples(data_step, index))).to(device)
    return preference_loss(lost_B, before_B, config.preference)


def preference_loss(lost_B: Tensor, before_B: Tensor, config: PreferenceConfig) -> Loss:
    """DPO's loss of pairs, of which rows 2b and 2b + 1 are -log p of the chosen and of the rejected answer.

    `before_B` is the same by the weights that the run began with.
    """
    gained_B = before_B - lost_B
    margins_B = config.beta * (gained_B[0::2] - gained_B[1::2])
    lost_pairs_B = -functional.logsigmoid(margins_B)
    smoothing = config.label_smoothing
    if smoothing:
        lost_pairs_B = (1.0 - smoothing) * lost_pairs_B - smoothing * functional.logsigmoid(-margins_B)
    total = lost_pairs_B.sum()
    return Loss(total, total, margins_B.detach())
