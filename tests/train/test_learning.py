"""The loss curve is that of transformers' Llama under torch's AdamW, on the same batches from the same weights."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.artifact import current
from core.config import load
from core.ledger import read_lines
from core.profile import Attention
from data.loader import Loader
from inference.huggingface import model_config, transformers
from model.config import ModelConfig
from model.init import initialize
from model.names import hugging_face_name
from model.transformer import Transformer
from tests.train.ranks import call, run_ranks
from tests.train.runs import Tiny, finished_folder
from train.config import TrainConfig
from train.run import main
from train.schedule import learning_rate

# The optimum of both is the same function; they round other sums. 12 steps at a rate of 1e-2 spread that to about 1e-5.
TOLERANCE = 1e-4


def reference_losses(recipe: str, pack: str, overrides: list[str]) -> list[float]:
    """Mean loss of every step of the recipe, by a plain training loop around transformers' Llama."""
    config, shape = load(recipe, "train", TrainConfig, overrides), load(recipe, "model", ModelConfig, overrides)
    loader = Loader.open(Path(pack), micro_batches=config.micro_batches, micro_batch=config.micro_batch)
    model = _reference_model(shape, seed=config.seed)
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    norms = [weight for weight in model.parameters() if weight.dim() == 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": norms, "weight_decay": 0.0}]
    betas = (config.beta1, config.beta2)
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=betas, eps=config.eps, weight_decay=config.weight_decay)
    losses = []
    for step in range(1, config.steps + 1):
        batches = [torch.from_numpy(loader.batch(step, index)) for index in range(config.micro_batches)]
        loss = _mean_loss(model, torch.cat(batches), loader.bos_id)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def _reference_model(shape: ModelConfig, *, seed: int) -> Any:
    ours = Transformer(shape, Attention.EXPLICIT)
    initialize(ours, seed=seed, std=shape.init_std)
    package = transformers()
    config = package.LlamaConfig(**model_config(shape, bos_id=1, eos_id=2), attn_implementation="eager")
    model = package.LlamaForCausalLM(config)
    missing = model.load_state_dict({hugging_face_name(name): weight for name, weight in ours.state_dict().items()})
    assert not any(missing)
    return model


def _mean_loss(model: Any, tokens_BT1: Tensor, bos_id: int) -> Tensor:
    tokens_BT, targets_BT = tokens_BT1[:, :-1], tokens_BT1[:, 1:]
    document_BT = (tokens_BT == bos_id).cumsum(dim=1)
    is_causal_TT = torch.ones(tokens_BT.shape[1], tokens_BT.shape[1], dtype=torch.bool).tril()
    is_visible = ((document_BT[:, :, None] == document_BT[:, None, :]) & is_causal_TT)[:, None]
    mask = torch.zeros(is_visible.shape).masked_fill(~is_visible, torch.finfo(torch.float32).min)
    logits_BTV = model(tokens_BT, attention_mask=mask).logits
    return torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())


@pytest.fixture(scope="module")
def theirs(tiny: Tiny) -> list[float]:
    """The reference's losses."""
    losses: list[float] = call(reference_losses, str(tiny.recipe), str(current(tiny.inputs, "pack").folder), [])
    return losses


def agree(ours: list[float], theirs: list[float]) -> bool:
    return all(math.isclose(mine, other, rel_tol=TOLERANCE) for mine, other in zip(ours, theirs, strict=True))


def test_the_losses_are_those_of_a_plain_loop_around_transformers(
    tiny: Tiny, tmp_path: Path, theirs: list[float]
) -> None:
    ended = run_ranks(1, main, [tiny.arguments(tmp_path / "runs")], notes=tmp_path / "notes")
    assert ended.exit_codes == [0], ended.messages
    steps = read_lines(finished_folder(tmp_path / "runs") / "ledger.jsonl")[1:]
    ours = [float.fromhex(line["loss"]) for line in steps]
    assert ours[0] - ours[-1] > 0.5, "it learns"
    assert agree(ours, theirs)


def test_a_rate_that_is_one_percent_higher_leaves_that_curve(tiny: Tiny, theirs: list[float]) -> None:
    pack = str(current(tiny.inputs, "pack").folder)
    assert not agree(call(reference_losses, str(tiny.recipe), pack, ["train.lr=1.01e-2"]), theirs)
