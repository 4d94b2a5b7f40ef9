"""The loss of weights on held-out text: the beginnings of some documents of each source, each alone after bos."""

import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import safetensors.torch
import torch
from torch.nn import functional

from core.errors import DataError
from core.profile import ProfileConfig
from data.documents import read_documents
from data.tokenizer import Tokenizer
from model.config import ModelConfig
from model.numerics import honour
from model.transformer import Transformer
from posttrain.config import QuantizeConfig


def heldout_loss(
    weights: Path, where: Mapping[str, Path], *, config: QuantizeConfig, model: ModelConfig, profile: ProfileConfig
) -> float:
    """Nats a token under the weights in a file; `where` names the folders of the clean and tokenizer artifacts.

    The profile has been applied. Raises DataError if nothing is held out.
    """
    honour(profile)
    with torch.device("meta"):
        transformer = Transformer(model, profile.attention)
    transformer.load_state_dict(safetensors.torch.load_file(weights), assign=True)
    tokenizer = Tokenizer.open(where["tokenizer"])
    limit = min(config.text_tokens, model.max_seq_len)
    nats: list[float] = []
    count = 0
    for path in sorted((where["clean"] / "heldout").glob("*.jsonl")):
        for document in islice(read_documents(path), config.text_documents):
            ids = [tokenizer.bos_id, *tokenizer.encode(document.text)][: limit + 1]
            if len(ids) > 1:
                nats.append(_nats(transformer.eval(), ids))
                count += len(ids) - 1
    if not count:
        raise DataError(f"no held-out documents in {where['clean'] / 'heldout'}; raise clean.heldout_permille")
    return math.fsum(nats) / count


@torch.inference_mode()
def _nats(model: Transformer, ids: list[int]) -> float:
    logits_TV = model(torch.tensor([ids[:-1]]))[0]
    return math.fsum(functional.cross_entropy(logits_TV, torch.tensor(ids[1:]), reduction="none").double().tolist())
