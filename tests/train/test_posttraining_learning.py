"""SFT and DPO give the loss curves of plain loops around transformers' Llama under torch's AdamW, on the same pairs."""

import copy
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from core.config import load
from core.ledger import read_lines
from data.loader import Loader
from inference.huggingface import model_config, transformers
from model.config import ModelConfig
from model.names import hugging_face_name
from tests.train.chats import Chats
from tests.train.ranks import call, run_ranks
from tests.train.runs import events, finished_folder
from train.config import Objective, TrainConfig
from train.run import main
from train.schedule import learning_rate

# Both compute the same function; they round other sums.
TOLERANCE = 1e-4
STEPS = ("train.steps=8", "train.lr=1.0e-3", "train.min_lr=1.0e-4", "train.save_every_steps=8")
SMOOTHED = ("train.preference.beta=0.3", "train.preference.label_smoothing=0.1")
OVERRIDES = {Objective.SFT: STEPS, Objective.PREFERENCE: (*STEPS, *SMOOTHED)}


def plain_losses(arguments: list[str], checkpoint: str, pack: str, beta: float) -> list[float]:
    """The loss of every step by a loop that knows nothing of ours but batches, rates and the beginning weights."""
    recipe, *overrides = arguments
    config, shape = load(recipe, "train", TrainConfig, overrides), load(recipe, "model", ModelConfig, overrides)
    loader = Loader.open(Path(pack), micro_batches=config.micro_batches, micro_batch=config.micro_batch)
    package = transformers()
    model = package.LlamaForCausalLM(
        package.LlamaConfig(**model_config(shape, bos_id=1, eos_id=2), attn_implementation="eager")
    )
    weights = load_file(Path(checkpoint) / "model.safetensors")
    model.load_state_dict({hugging_face_name(name): weight for name, weight in weights.items()})
    frozen = copy.deepcopy(model).requires_grad_(False)
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight in model.parameters() if weight.dim() > 1]},
        {"params": [weight for weight in model.parameters() if weight.dim() == 1], "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=betas, eps=config.eps, weight_decay=config.weight_decay)
    losses = []
    for step in range(1, config.steps + 1):
        numbers = range(config.micro_batches)
        tokens_BT1 = torch.cat([torch.from_numpy(loader.batch(step, index)) for index in numbers])
        counted = [loader.counted(step, index) for index in numbers]
        counted_BT = torch.cat([torch.from_numpy(one) for one in counted if one is not None])
        if config.objective is Objective.SFT:
            loss = -_log_probabilities(model, tokens_BT1, counted_BT).sum() / counted_BT.sum()
        else:
            gains_B = _log_probabilities(model, tokens_BT1, counted_BT) - _log_probabilities(
                frozen, tokens_BT1, counted_BT
            )
            chosen_B, rejected_B = gains_B.view(-1, 2).unbind(1)
            right_B = torch.sigmoid(beta * (chosen_B - rejected_B))
            share = config.preference.label_smoothing
            loss = -((1 - share) * right_B.log() + share * (1 - right_B).log()).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def _log_probabilities(model: Any, tokens_BT1: Tensor, counted_BT: Tensor) -> Tensor:
    """Of every row the sum of log p over what counts, row by row and document by document, each alone."""
    sums = []
    for row_T1, counts_T in zip(tokens_BT1, counted_BT, strict=True):
        begins = [*torch.nonzero(row_T1[:-1] == 1).flatten().tolist(), len(row_T1) - 1]
        total = torch.zeros(())
        for first, end in pairwise(begins):
            if counts_T[first:end].any():
                # The position counts on within the window.
                places = torch.arange(first, end)[None]
                logits_TV = model(row_T1[None, first:end], position_ids=places).logits[0]
                told_T = functional.log_softmax(logits_TV, -1).gather(1, row_T1[first + 1 : end + 1, None])[:, 0]
                total = total + told_T[counts_T[first:end]].sum()
        sums.append(total)
    return torch.stack(sums)


def agree(ours: list[float], theirs: list[float]) -> bool:
    return all(math.isclose(mine, other, rel_tol=TOLERANCE) for mine, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("objective", OVERRIDES)
def test_the_losses_are_those_of_a_plain_loop(chats: Chats, tmp_path: Path, objective: Objective) -> None:
    arguments = chats.arguments(tmp_path / "runs", objective, *OVERRIDES[objective])
    ended = run_ranks(1, main, [arguments], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    folder = finished_folder(tmp_path / "runs")
    ours = [float.fromhex(line["loss"]) for line in read_lines(folder / "ledger.jsonl")[1:]]
    pack = str(next(chats.packs[objective].glob("pack-*")))
    theirs = call(plain_losses, arguments, str(chats.parent), pack, 0.3)
    assert agree(ours, theirs), (ours, theirs)
    assert ours[-1] < ours[0], "it learns"
    if objective is Objective.SFT:
        assert not agree(ours, call(plain_losses, [*arguments, "train.lr=1.05e-3"], str(chats.parent), pack, 0.3))
        return
    assert math.isclose(ours[0], math.log(2), rel_tol=1e-5), "nothing is preferred yet"
    assert not agree(ours, call(plain_losses, arguments, str(chats.parent), pack, 0.303))
    told = events(folder, "rewards.measured")
    assert [one["pairs"] for one in told] == [6] * 8
    assert all(isinstance(one["right"], int) for one in told)
    assert told[-1]["margin"] > told[0]["margin"] and told[-1]["right"] > told[0]["right"]
