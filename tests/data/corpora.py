"""A small corpus with its manifest, made by the verbs themselves, with something for every step to drop or change."""

import importlib
import io
import json
from contextlib import redirect_stdout
from pathlib import Path

from core.hashing import hash_file
from data.__main__ import VERBS
from tests.conftest import write_corpus

STAGES = ("fetch", "clean", "tokenizer", "pack", "manifest")
RECIPE = """\
run: {{name: small, out: {out}}}
sources:
  cache: {cache}
  items:
    - name: alpha
      kind: files
      path: {corpus}/alpha*.jsonl
      license: CC0-1.0
      license_note: The papers say so.
      evidence: [COPYING]
      language: en
    - {{name: beta, kind: files, path: {corpus}/beta.txt, license: CC-BY-4.0, language: fr}}
data: {{}}
clean:
  seed: 1
  heldout_permille: 100
  filters: {{refused: {{dollar: 'costs [$]\\d+'}}}}
  mask: {{email: true}}
  decontamination: {{benchmarks: [{{name: quiz, path: {corpus}/quiz.jsonl, sha256: {quiz}, fields: [text]}}]}}
tokenizer: {{vocab_size: 400}}
pack: {{seed: 1, seq_len: 32, weights: {{alpha: 2, beta: 1}}, shard_tokens: 12000}}
"""
QUESTION = (
    "which seven colours does the old lighthouse keeper count before every storm that comes from the west at night"
)


def run_verb(verb: str, *arguments: object) -> str:
    """Run a verb of data/ in this process; returns what it wrote to standard output."""
    module, _, function = VERBS[verb].target.partition(":")
    written = io.StringIO()
    with redirect_stdout(written):
        getattr(importlib.import_module(module), function)(list(map(str, arguments)))
    return written.getvalue()


def write_small_corpus(folder: Path) -> Path:
    """Write texts, evidence and evaluation set below `folder`, and a recipe over them; returns its path."""
    texts = folder / "texts"
    write_corpus(texts)
    (texts / "COPYING").write_text("No rights reserved.\n")
    first = json.loads((texts / "alpha.jsonl").read_text().splitlines()[0])["text"]
    more = [first, "too short", f"{first} Write to jane.doe@mail.org or stay away.", f"{first} {QUESTION}."]
    more.append(f"{first} It costs $5 a piece.")
    (texts / "alpha-more.jsonl").write_text("".join(f"{json.dumps({'text': text})}\n" for text in more))
    (texts / "quiz.jsonl").write_text(f"{json.dumps({'text': QUESTION})}\n")
    recipe = folder / "small.yaml"
    recipe.write_text(
        RECIPE.format(out=folder / "runs", cache=folder / "cache", corpus=texts, quiz=hash_file(texts / "quiz.jsonl"))
    )
    return recipe


def make_corpus(folder: Path) -> Path:
    """Make the corpus with its manifest; returns the folder of the run."""
    recipe = write_small_corpus(folder)
    for stage in STAGES:
        run_verb(stage, recipe)
    return folder / "runs"


def folder_of(runs: Path, stage: str) -> Path:
    """The artifact of a stage in a run's folder."""
    return runs / str(json.loads((runs / f"{stage}.json").read_bytes())["folder"])
