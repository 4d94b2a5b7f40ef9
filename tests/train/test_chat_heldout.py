"""Evaluation in the loop on held-out conversations: what counts is measured, the same at any placement."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.artifact import Facts, build, plan
from core.config import load
from core.ledger import read_lines
from core.profile import Attention
from data.chat import ASSISTANT, Form, encode, text_of
from data.heldout import write_heldout_chats
from data.packconfig import PackConfig
from model.config import ModelConfig
from model.transformer import Transformer
from tests.data.packs import LetterTokenizer, documents_of, generated_messages, write_chat_pack
from tests.train.chats import SHAPE
from tests.train.ranks import call, run_ranks
from tests.train.runs import Tiny, finished_folder
from train.run import main as run

HELD = [generated_messages("held", number) for number in range(9)]


@pytest.fixture(scope="module")
def packed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Generated conversations, with others of them held out."""
    out = tmp_path_factory.mktemp("packed")
    (out / "heldout").mkdir()
    lines = [json.dumps(vars_of(one)) for one in documents_of("talk", [text_of(messages) for messages in HELD])]
    (out / "heldout" / "talk.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def write(aside: Path) -> Facts:
        aside.rmdir()
        config = PackConfig(seed=1, seq_len=64, weights={"talk": 1}, form=Form.CONVERSATIONS)
        write_chat_pack(aside, config, documents={"talk": 40})
        write_heldout_chats(aside, out, LetterTokenizer(), tokens=10_000, seq_len=64)
        return {"came_in": "documents", "went_out": "windows"}

    build(plan("pack", folder="data", out=out, config={}, inputs={}), write)
    return Tiny(tiny.recipe, out)


def vars_of(document: Any) -> dict[str, str]:
    return {name: getattr(document, name) for name in ("key", "source", "text", "origin")}


def scores(packed: Tiny, out: Path, *, ranks: int, placement: str) -> tuple[Path, list[Any]]:
    """The folder of a run, and what its ledger says of the held-out conversations."""
    overrides = ("train.objective=sft", *SHAPE, "train.eval_every_steps=2", f"train.placement={placement}")
    ended = run_ranks(ranks, run, [packed.arguments(out / "runs", *overrides)], notes=out / "notes")
    assert ended.exit_codes == [0] * ranks, ended.messages
    folder = finished_folder(out / "runs")
    return folder, [line["eval"] for line in read_lines(folder / "ledger.jsonl")[1:] if "eval" in line]


def by_hand(recipe: str, weights: str, rows: Sequence[tuple[list[int], list[bool]]]) -> float:
    """Nats of what counts, each conversation by itself, from the logits, in double precision."""
    model = Transformer(load(recipe, "model", ModelConfig), Attention.EXPLICIT)
    model.load_state_dict(load_file(weights))
    nats = 0.0
    for ids, mask in rows:
        with torch.no_grad():
            logits = model(torch.tensor([ids[:-1]]))
        costs = -logits.double().log_softmax(-1)[0].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        nats += float(costs[torch.tensor(mask[1:])].sum())
    return nats


def test_what_counts_of_held_out_conversations_is_measured_at_any_placement(packed: Tiny, tmp_path: Path) -> None:
    folder, told = scores(packed, tmp_path / "one", ranks=1, placement="zero1")
    assert len(told) == 2
    assert scores(packed, tmp_path / "two", ranks=2, placement="fsdp2")[1] == told
    masked = [encode(messages, LetterTokenizer()) for messages in HELD]
    rows = [(one.ids.tolist(), one.mask.tolist()) for one in masked]
    weights = folder / "checkpoints" / "step-000004" / "model.safetensors"
    nats = call(by_hand, str(packed.recipe), str(weights), rows)
    count = sum(int(one.mask.sum()) for one in masked)
    said = sum(len(one.content.encode()) for messages in HELD for one in messages if one.role == ASSISTANT)
    # Ours adds fp32 costs in fp32, a batch at a time, with rotations by the place in the window.
    assert float.fromhex(told[-1]["loss"]) == pytest.approx(nats / count, rel=1e-5)
    assert float.fromhex(told[-1]["bits_per_byte"]) == pytest.approx(nats / math.log(2) / said, rel=1e-5)
