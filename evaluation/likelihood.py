"""The negative log-likelihood of texts of any length under a model of limited width.

A text is bos and its tokens; bos is given, every token is scored once, and the end is not: bits are of the text alone,
as in EleutherAI's lm-evaluation-harness (loglikelihood_rolling). Windows overlap by half, so that a token beyond the
first window has at least half a window before it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from core.progress import Progress
from model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Window:
    """Positions start to end - 1 of a text as the model's inputs; their targets from `scored` on are counted."""

    text: int
    start: int
    scored: int
    end: int

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.end - self.start


def windows_of(length: int, *, seq_len: int, text: int = 0) -> list[Window]:
    """Windows of at most `seq_len` positions over `length` targets, each target scored in one of them."""
    ends = [*range(min(seq_len, length), length, seq_len // 2), length] if length else []
    starts = [max(0, end - seq_len) for end in ends]
    return [
        Window(text=text, start=start, scored=scored, end=end)
        for start, scored, end in zip(starts, [0, *ends], ends, strict=False)
    ]


def batches_of(lengths: Sequence[int], *, seq_len: int, batch: int) -> list[list[Window]]:
    """The windows of texts of so many tokens, as they are computed together: the longest first."""
    windows = [
        window for index, length in enumerate(lengths) for window in windows_of(length, seq_len=seq_len, text=index)
    ]
    windows.sort(key=lambda window: -window.length)
    return [windows[start : start + batch] for start in range(0, len(windows), batch)]


def batch_costs(
    model: Transformer, texts: Sequence[Sequence[int]], group: Sequence[Window], *, bos_id: int
) -> list[list[float]]:
    """Nats of every scored token of each window of a batch; the same bits for the same batch."""
    return list(_costs(model, {window.text: [bos_id, *texts[window.text]] for window in group}, group))


def score(model: Transformer, texts: Sequence[Sequence[int]], *, bos_id: int, seq_len: int, batch: int) -> list[float]:
    """Nats of every text, given as token ids without bos; the sums are exact, so no order matters to them."""
    batches = batches_of([len(text) for text in texts], seq_len=seq_len, batch=batch)
    return sum_up(score_batches(model, texts, batches, bos_id=bos_id), count=len(texts))


def score_batches(
    model: Transformer, texts: Sequence[Sequence[int]], batches: Sequence[Sequence[Window]], *, bos_id: int
) -> list[tuple[Window, list[float]]]:
    """Every window of some batches, with the nats of its scored tokens."""
    progress = Progress(
        "score held-out text", total=sum(w.end - w.scored for one in batches for w in one), unit="tokens"
    )
    scored: list[tuple[Window, list[float]]] = []
    for group in batches:
        scored += zip(group, batch_costs(model, texts, group, bos_id=bos_id), strict=True)
        progress.advance(sum(window.end - window.scored for window in group))
    return scored


def sum_up(scored: Sequence[tuple[Window, Sequence[float]]], *, count: int) -> list[float]:
    """The nats of `count` texts, of their windows."""
    nats: list[list[float]] = [[] for _ in range(count)]
    for window, costs in scored:
        nats[window.text].extend(costs)
    return [math.fsum(costs) for costs in nats]


@torch.inference_mode()
def _costs(model: Transformer, given: Mapping[int, Sequence[int]], group: Sequence[Window]) -> Iterator[list[float]]:
    """-log p of the scored targets of each window; shorter windows are filled up behind, where nothing looks."""
    tokens_BT1 = torch.zeros(len(group), group[0].length + 1, dtype=torch.int64)
    for row, window in zip(tokens_BT1, group, strict=True):
        row[: window.length + 1] = torch.tensor(given[window.text][window.start : window.end + 1])
    costs_BT = _cost(model(tokens_BT1[:, :-1]), tokens_BT1[:, 1:])
    return iter(
        [
            row[window.scored - window.start : window.length].tolist()
            for row, window in zip(costs_BT, group, strict=True)
        ]
    )


def _cost(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    costs = functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="none")
    return costs.view(targets_BT.shape)
