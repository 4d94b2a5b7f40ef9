"""A small corpus of generated text and a recipe over it, for tests that run stages for real."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from core.codetree import ROOT

TEXT = (
    "the of and to a in is that it was for on are with as his they at be this from have or by one had not but what all "
    "were when we there can an your which their said if do will each about how up out them then she many some so these "
    "would other into has more her two like him see time could no make than first been its who now people my made over "
    "árbol señor mañana été garçon naïve façade coração größe"
)
WORDS = TEXT.split()

RECIPE = """\
run: {{name: tiny, out: {out}}}
sources:
  cache: {cache}
  items:
    - {{name: alpha, kind: files, path: {corpus}/alpha.jsonl, license: CC0-1.0, language: en}}
    - {{name: beta, kind: files, path: {corpus}/beta.txt, license: CC0-1.0, language: en}}
data: {{workers: 1}}
clean: {{seed: 1, heldout_permille: 100}}
tokenizer: {{vocab_size: 512}}
pack: {{seed: 1, seq_len: 32, weights: {{alpha: 2, beta: 1}}}}
model:
  {{dim: 32, n_layers: 2, n_heads: 4, n_kv_heads: 2, ffn_dim: 64, vocab_size: 512, max_seq_len: 64,
   rope_theta: 10000.0, norm_eps: 1.0e-5, is_embedding_tied: false, init_std: 0.02}}
profile:
  name: portable
  threads: 1
  environment: {{MKL_CBWR: COMPATIBLE, ATEN_CPU_CAPABILITY: avx2, ONEDNN_MAX_CPU_ISA: AVX2}}
  cpu_features: [avx2, fma]
  attention: explicit
  is_sqrt_in_float64: true
  is_bound_to_cpu_model: false
train:
  {{seed: 1, steps: 12, micro_batches: 8, micro_batch: 2, lr: 1.0e-2, min_lr: 1.0e-3, warmup_steps: 3, beta1: 0.9,
   beta2: 0.95, eps: 1.0e-8, weight_decay: 0.1, clip_norm: 1.0, save_every_steps: 4, placement: zero1}}
evaluate: {{seed: 1, seq_len: 32}}
export: {{license: Apache-2.0}}
release: {{checkpoint_every_steps: 4, equivalence: {{margin: 0.1, last_steps: 4}}}}
launch: {{ranks: 2, kill_rank: -1, kill_at_step: 0}}
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def sentence(source: random.Random) -> str:
    """A line of words that no corpus holds."""
    return " ".join(source.choice(WORDS) for _ in range(source.randint(5, 14))).capitalize() + "."


def write_corpus(folder: Path) -> None:
    """Two files of generated text, the same bytes every time: 300 documents in JSON lines, 200 in paragraphs."""
    import json

    source = random.Random(7)
    folder.mkdir(parents=True, exist_ok=True)
    texts = ["\n".join(sentence(source) for _ in range(source.randint(4, 12))) for _ in range(500)]
    alpha = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts[:300])
    (folder / "alpha.jsonl").write_text(alpha, encoding="utf-8")
    (folder / "beta.txt").write_text(
        "\n\n".join(text.replace("\n", " ") for text in texts[300:]) + "\n", encoding="utf-8"
    )


def write_recipe(folder: Path) -> Path:
    """A recipe over the generated corpus whose artifacts lie in `folder`/runs."""
    write_corpus(folder / "corpus")
    path = folder / "tiny.yaml"
    path.write_text(
        RECIPE.format(out=folder / "runs", cache=folder / "cache", corpus=folder / "corpus"), encoding="utf-8"
    )
    return path


def run_module(
    *arguments: object, env: Mapping[str, str] | None = None, timeout_s: float = 900
) -> "subprocess.CompletedProcess[str]":
    """`python -m ARGUMENTS` in the checkout, as a user would start it; output is captured as text."""
    command = [sys.executable, "-m", *map(str, arguments)]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )


@pytest.fixture
def tiny_recipe(tmp_path: Path) -> Path:
    """A fresh tiny recipe of this test alone."""
    return write_recipe(tmp_path)


@pytest.fixture(scope="session")
def shared_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny recipe for the whole session: its artifacts are made once; tests only read them."""
    return write_recipe(tmp_path_factory.mktemp("tiny"))
