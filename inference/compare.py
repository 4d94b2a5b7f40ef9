"""Loads an exported folder as a stranger would, and holds it against our model on held-out text.

What must be equal: token ids, exactly; greedy continuations, except where our own two likeliest tokens are nearer
than the bound; logits, within the bound. Logits are not equal to the bit, because transformers adds in another order:
fused attention, its own norm, sines from torch. Each of some hundred fp32 operations on the way rounds by 2^-24 of
values up to about 30, so differences near 1e-5 are expected; a wrong rope_theta or norm_eps gives 1e-2 and more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import torch

from core.errors import DataError, DeterministicError
from core.progress import Progress
from data.documents import Document, read_documents
from data.tokenizer import Tokenizer
from inference.config import ExportConfig
from inference.engine import GREEDY, generate
from inference.huggingface import transformers
from model.transformer import Transformer

PROMPT_TOKENS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What was compared; `logit_difference` is the largest, and may differ between machines of one profile."""

    documents: int
    tokens: int
    logit_windows: int
    logit_difference: float


def heldout_sample(clean_folder: Path, *, per_source: int) -> list[Document]:
    """Up to `per_source` held-out documents of every source, the sources in turn, each in the order of its keys."""
    paths = sorted((clean_folder / "heldout").glob("*.jsonl"))
    columns = [list(islice(read_documents(path), per_source)) for path in paths]
    sample = [document for row in zip_longest(*columns) for document in row if document is not None]
    if not sample:
        raise DataError(f"no held-out documents in {clean_folder / 'heldout'}; raise clean.heldout_permille")
    return sample


def compare(
    folder: Path, model: Transformer, *, tokenizer: Tokenizer, documents: Sequence[Document], config: ExportConfig
) -> Comparison:
    """Compare an exported folder with our model. Raises DeterministicError naming the first thing that differs."""
    their_tokenizer = transformers().AutoTokenizer.from_pretrained(folder)
    windows = [_same_ids(document, tokenizer, their_tokenizer) for document in documents]
    limit = min(config.window_tokens, model.config.max_seq_len)
    sample = [ids[:limit] for ids in windows[: config.logit_documents]]
    theirs = transformers().AutoModelForCausalLM.from_pretrained(folder).eval()
    progress = Progress("compare with transformers", total=len(sample), unit="documents")
    largest = 0.0
    for document, ids in zip(documents, sample, strict=False):
        largest = max(largest, _logit_difference(document, ids, model, theirs, config.max_logit_difference))
        _check_greedy(document, ids, model, theirs, tokenizer, config)
        progress.advance()
    return Comparison(
        documents=len(windows), tokens=sum(map(len, windows)), logit_windows=len(sample), logit_difference=largest
    )


def _same_ids(document: Document, tokenizer: Tokenizer, theirs: Any) -> list[int]:
    ours = [tokenizer.bos_id, *tokenizer.encode(document.said)]
    others = theirs(document.said)["input_ids"]
    if ours != others:
        at = next(index for index, pair in enumerate(zip_longest(ours, others)) if pair[0] != pair[1])
        raise DeterministicError(
            f"exported tokenizer gives held-out document {document.key} other ids: first at token {at}, "
            f"{ours[at : at + 4]} here, {others[at : at + 4]} there; do not publish this export"
        )
    return ours


@torch.inference_mode()
def _logit_difference(document: Document, ids: Sequence[int], model: Transformer, theirs: Any, bound: float) -> float:
    tokens_BT = torch.tensor([ids])
    difference = float((model(tokens_BT) - theirs(tokens_BT).logits).abs().max())
    # Not `>`: a NaN must fail too.
    if not difference <= bound:
        raise DeterministicError(
            f"exported model's logits on held-out document {document.key} differ by up to {difference:.3g}, "
            f"export.max_logit_difference is {bound}; do not publish this export"
        )
    return difference


@torch.inference_mode()
def _check_greedy(
    document: Document, ids: Sequence[int], model: Transformer, theirs: Any, tokenizer: Tokenizer, config: ExportConfig
) -> None:
    prompt = list(ids[: min(PROMPT_TOKENS, model.config.max_seq_len - 1)])
    count = min(config.greedy_tokens, model.config.max_seq_len - len(prompt))
    ours = generate(model, prompt, max_tokens=count, stop_id=tokenizer.eos_id, sampling=GREEDY)
    others = _their_continuation(theirs, prompt, count=count, stop_id=tokenizer.eos_id)
    if ours == others:
        return
    agreed = next(index for index, pair in enumerate(zip_longest(ours, others)) if pair[0] != pair[1])
    likeliest = model(torch.tensor([prompt + ours[:agreed]]))[0, -1].topk(2).values
    margin = float(likeliest[0] - likeliest[1])
    if margin > 2 * config.max_logit_difference:
        raise DeterministicError(
            f"exported model continues held-out document {document.key} otherwise: {ours} here, {others} there, "
            f"and no tie (our margin is {margin:.3g}); do not publish this export"
        )


def _their_continuation(theirs: Any, prompt: Sequence[int], *, count: int, stop_id: int) -> list[int]:
    tokens_BT = torch.tensor([prompt])
    whole = theirs.generate(
        tokens_BT,
        attention_mask=torch.ones_like(tokens_BT),
        max_new_tokens=count,
        do_sample=False,
        # The folder's own ends may be more: that of a conversation's turn too.
        eos_token_id=stop_id,
        pad_token_id=stop_id,
    )
    continuation: list[int] = whole[0, len(prompt) :].tolist()
    return continuation[: continuation.index(stop_id)] if stop_id in continuation else continuation
