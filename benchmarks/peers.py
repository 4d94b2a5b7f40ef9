"""One peer's training steps, timed, in a process of its own: `python -m benchmarks.peers WORK.json`, by train.py.

Models are the peers' own, from their packages, but for the one in nanoGPT's shape, which is written here. All but
transformers' Trainer run in one plain loop: forward, backward, clip to 1.0, AdamW. The peers' interpreter need not be
ours; nothing but torch, numpy and the peer is imported. Writes seconds by step and the most memory, or what is missing.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cells import Size
from benchmarks.memory import peak_bytes

LEARNING = {"lr": 3e-4, "betas": (0.9, 0.95), "weight_decay": 0.1}
CLIP_NORM = 1.0

# Takes tokens and targets, [B, T] each, and gives the mean loss.
Model = Callable[[Tensor, Tensor], Tensor]


def llama(size: Size) -> nn.Module:
    """transformers' Llama, with torch's fused attention."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size.vocab_size,
        hidden_size=size.dim,
        intermediate_size=size.ffn_dim,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        num_key_value_heads=size.n_heads,
        max_position_embeddings=size.seq_len,
        tie_word_embeddings=False,
        use_cache=False,
        attn_implementation="sdpa",
    )
    model: nn.Module = LlamaForCausalLM(config)
    return model


def litgpt(size: Size) -> nn.Module:
    """litgpt's GPT in Llama's shape."""
    from litgpt.config import Config
    from litgpt.model import GPT

    config = Config(
        block_size=size.seq_len,
        vocab_size=size.vocab_size,
        padded_vocab_size=size.vocab_size,
        n_layer=size.n_layers,
        n_head=size.n_heads,
        n_embd=size.dim,
        n_query_groups=size.n_heads,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        intermediate_size=size.ffn_dim,
        norm_eps=1e-5,
    )
    model: nn.Module = GPT(config)
    return model


def torchtitan(size: Size) -> nn.Module:
    """torchtitan's llama3, told to take torch's fused attention, which it refuses language models by itself."""
    import torchtitan.models.llama3 as llama3
    from torchtitan.models.common.attention import ScaledDotProductAttention

    llama3.get_attention_config = lambda _: ScaledDotProductAttention.Config()
    rope = llama3.ComplexRoPE.Config(dim=size.dim // size.n_heads, max_seq_len=size.seq_len, theta=10000)
    embedding = llama3.Embedding.Config(
        num_embeddings=size.vocab_size, embedding_dim=size.dim, param_init=llama3._EMBEDDING_INIT
    )
    config = llama3.Llama3Model.Config(
        dim=size.dim,
        vocab_size=size.vocab_size,
        tok_embeddings=embedding,
        norm=llama3.RMSNorm.Config(normalized_shape=size.dim, param_init=llama3._NORM_INIT),
        lm_head=llama3.Linear.Config(
            in_features=size.dim, out_features=size.vocab_size, param_init=llama3._output_linear_init(size.dim)
        ),
        layers=llama3._build_llama3_layers(
            fuse_qkv=True,
            n_layers=size.n_layers,
            dim=size.dim,
            n_heads=size.n_heads,
            hidden_dim=size.ffn_dim,
            rope=rope,
            attn_backend="sdpa",
        ),
    )
    model: nn.Module = config.build()
    model.init_states()  # type: ignore[operator]
    return model


class NanoGpt(nn.Module):
    """GPT-2's shape as nanoGPT has it: learned positions, LayerNorm, GELU of four times the width, a tied head."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocab_size, size.dim)
        self.positions = nn.Embedding(size.seq_len, size.dim)
        self.blocks = nn.ModuleList(NanoBlock(size) for _ in range(size.n_layers))
        self.norm = nn.LayerNorm(size.dim, bias=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.tokens(tokens_BT) + self.positions.weight[: tokens_BT.shape[1]]
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return functional.linear(self.norm(x_BTD), self.tokens.weight)


class NanoBlock(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.n_heads = size.n_heads
        self.norms = nn.ModuleList(nn.LayerNorm(size.dim, bias=False) for _ in range(2))
        self.into_heads = nn.Linear(size.dim, 3 * size.dim, bias=False)
        self.out_of_heads = nn.Linear(size.dim, size.dim, bias=False)
        self.up = nn.Linear(size.dim, 4 * size.dim, bias=False)
        self.down = nn.Linear(4 * size.dim, size.dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        heads = self.into_heads(self.norms[0](x_BTD)).view(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        q_BHTK, k_BHTK, v_BHTK = heads.unbind()
        y_BHTK = functional.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, is_causal=True)
        x_BTD = x_BTD + self.out_of_heads(y_BHTK.transpose(1, 2).reshape(B, T, D))
        y_BTD: Tensor = x_BTD + self.down(functional.gelu(self.up(self.norms[1](x_BTD))))
        return y_BTD


MAKERS = {
    "transformers": llama,
    "transformers Trainer": llama,
    "litgpt": litgpt,
    "torchtitan": torchtitan,
    "nanoGPT-style": NanoGpt,
}


def main() -> None:
    """Time the peer and write what was found."""
    work = json.loads(Path(sys.argv[1]).read_bytes())
    torch.set_num_threads(work["threads"])
    torch.manual_seed(0)
    try:
        found = {"seconds": _run(work, Size(**work["size"])), "memory": peak_bytes()}
    except ImportError as error:
        found = {"missing": str(error)}
    Path(work["result"]).write_text(json.dumps(found), encoding="utf-8")


def _run(work: dict[str, Any], size: Size) -> list[float]:
    """Seconds of every step, the first ones too."""
    model = MAKERS[work["tool"]](size)
    windows = np.load(work["windows"])
    if work["tool"] == "transformers Trainer":
        return run_trainer(model, windows, work)
    return run_loop(model, windows, work)


def run_loop(model: nn.Module, windows: np.ndarray, work: dict[str, Any]) -> list[float]:
    """The plain loop."""
    # torchtitan's own trainer takes the fused one unless told otherwise.
    is_fused = work["is_fused"] or work["tool"] == "torchtitan"
    optimizer = torch.optim.AdamW(model.parameters(), fused=is_fused or None, **LEARNING)  # type: ignore[arg-type]
    run = torch.compile(model) if work["is_compiled"] else model
    if work["tool"].startswith("transformers"):
        model_of: Model = lambda tokens, targets: run(input_ids=tokens, labels=tokens).loss  # noqa: E731
    else:
        model_of = lambda tokens, targets: _cross_entropy(run(tokens), targets)  # noqa: E731
    precision = _precision(work["dtype"])
    seconds = []
    for step in windows:
        began = time.perf_counter()
        tokens_BT1 = torch.from_numpy(step)
        with precision():
            loss = model_of(tokens_BT1[:, :-1].contiguous(), tokens_BT1[:, 1:].contiguous())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        seconds.append(time.perf_counter() - began)
    return seconds


def _cross_entropy(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    return functional.cross_entropy(logits_BTV.float().flatten(0, 1), targets_BT.flatten())


def _precision(dtype: str) -> Callable[[], AbstractContextManager[Any]]:
    return (lambda: torch.autocast("cpu", torch.bfloat16)) if dtype == "bf16" else nullcontext


def run_trainer(model: nn.Module, windows: np.ndarray, work: dict[str, Any]) -> list[float]:
    """transformers' Trainer on the same windows; its time is from the end of one step to that of the next."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    steps, batch, _ = windows.shape
    arguments = TrainingArguments(
        output_dir=str(Path(work["result"]).parent),
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=LEARNING["lr"],
        adam_beta1=0.9,
        adam_beta2=0.95,
        weight_decay=0.1,
        max_grad_norm=CLIP_NORM,
        optim="adamw_torch_fused" if work["is_fused"] else "adamw_torch",
        torch_compile=work["is_compiled"],
        bf16=work["dtype"] == "bf16",
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    rows = [{"input_ids": row[:-1], "labels": row[:-1]} for row in torch.from_numpy(windows).flatten(0, 1)]
    began = time.perf_counter()
    Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Clock()]).train()
    return _between(began, ends)


def _between(began: float, ends: Iterable[float]) -> list[float]:
    seconds = []
    for end in ends:
        seconds.append(end - began)
        began = end
    return seconds


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    main()
