"""Stage evaluate: bits per byte on held-out documents beside two baselines, and a few samples.

Reads the clean and tokenizer artifacts and the last model that was made. Writes results.json and samples.jsonl, and
what others need to see without scoring everything that these are of this model (rescore.py): windows.jsonl, the nats of
each window in the order in which they were computed, and fingerprint.json (inference/fingerprint.py). Bits per byte do
not depend on the tokenizer's vocabulary: nats / ln 2 / UTF-8 bytes of the text.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.artifact import Artifact, Facts, build, current, plan
from core.cli import recipe_and_overrides
from core.config import RunConfig, identity, load
from core.errors import DataError
from core.hashing import canonical_json
from core.profile import ProfileConfig, apply, fingerprint
from core.stages import inputs_of, weights_stage
from data.documents import Document, read_documents
from evaluation.baselines import ZSTD_LEVEL, ZSTD_VERSION, unigram_bits, zstd_bits
from evaluation.config import ScoreConfig

if TYPE_CHECKING:
    from data.tokenizer import Tokenizer
    from evaluation.likelihood import Window
    from model.transformer import Transformer

RESULTS, SAMPLES, WINDOWS, FINGERPRINT = "results.json", "samples.jsonl", "windows.jsonl", "fingerprint.json"
LN2 = 0.6931471805599453
METHOD = {
    "text": "every document alone after bos; its end is not scored",
    "windows": "of evaluate.seq_len positions, overlapping by half",
    "unigram": "entropy of the scored text's own token counts",
    "zstd": f"zstd {ZSTD_VERSION} at level {ZSTD_LEVEL} over the scored text",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """The documents of one source that are scored, each with its tokens and nats; it holds out `heldout_documents`."""

    texts: list[bytes]
    ids: list[list[int]]
    nats: list[float]
    heldout_documents: int


def main(arguments: list[str]) -> None:
    """Verb `score`: make the artifact of stage evaluate and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m evaluation score")
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "evaluate", ScoreConfig, overrides)
    profile = load(recipe, "profile", ProfileConfig, overrides)
    inputs = {stage: current(run.inputs_folder, stage) for stage in inputs_of("evaluate", recipe, overrides)}
    wanted = plan(
        "evaluate",
        folder="evaluation",
        out=run.out_folder,
        config={**identity(config), "profile": fingerprint(profile), "zstd": ZSTD_VERSION},
        inputs=inputs,
    )
    artifact = build(wanted, lambda aside: write_scores(aside, inputs, config=config, profile=profile))
    sys.stdout.write(f"{artifact.folder}\n")


def write_scores(aside: Path, inputs: Mapping[str, Artifact], *, config: ScoreConfig, profile: ProfileConfig) -> Facts:
    """Score the held-out documents, draw samples, write both and return the facts."""
    apply(profile)
    from data.tokenizer import Tokenizer
    from evaluation.likelihood import score_batches, sum_up
    from inference.fingerprint import fingerprint_of
    from inference.weights import load_trained
    from model.numerics import honour

    honour(profile)
    tokenizer = Tokenizer.open(inputs["tokenizer"].folder)
    model = load_trained(inputs[weights_stage(inputs)], attention=profile.attention)
    texts = read_texts(inputs["clean"].folder, tokenizer, config)
    scored = score_batches(model, texts.ids, texts.batches(config), bos_id=tokenizer.bos_id)
    results = results_of(texts, sum_up(scored, count=len(texts.ids)))
    (aside / RESULTS).write_bytes(canonical_json(results))
    lines = [texts.line(window) | {"nats": math.fsum(costs).hex()} for window, costs in scored]
    _write_lines(aside / WINDOWS, lines)
    _write_lines(aside / SAMPLES, (draw_sample(model, tokenizer, config, prompt) for prompt in config.prompts))
    (aside / FINGERPRINT).write_bytes(canonical_json(fingerprint_of(model, bos_id=tokenizer.bos_id)))
    return _facts(results)


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """What is scored: the documents of every source and how many it holds out; of all in one row, source, key, ids."""

    chosen: Mapping[str, tuple[list[Document], int]]
    places: list[tuple[str, str]]
    ids: list[list[int]]

    def batches(self, config: ScoreConfig) -> "list[list[Window]]":
        """Their windows, as they are computed together."""
        from evaluation.likelihood import batches_of

        return batches_of([len(ids) for ids in self.ids], seq_len=config.seq_len, batch=config.batch_windows)

    def line(self, window: "Window") -> dict[str, Any]:
        """Which stretch of which document a window scores."""
        source, key = self.places[window.text]
        return {"source": source, "key": key, "start": window.start, "scored": window.scored, "end": window.end}


def read_texts(clean_folder: Path, tokenizer: "Tokenizer", config: ScoreConfig) -> Texts:
    """The held-out documents that are scored, encoded."""
    chosen = choose_documents(clean_folder, source_bytes=config.source_bytes)
    rows = [(source, document) for source, (documents, _) in chosen.items() for document in documents]
    return Texts(
        chosen=chosen,
        places=[(source, document.key) for source, document in rows],
        ids=[tokenizer.encode(document.said) for _, document in rows],
    )


def results_of(texts: Texts, nats: Sequence[float]) -> dict[str, Any]:
    """results.json, given the nats of all texts."""
    rows = iter(zip(texts.ids, nats, strict=True))
    scored = {}
    for source, (documents, count) in texts.chosen.items():
        own = [next(rows) for _ in documents]
        scored[source] = Scored(
            texts=[document.said.encode() for document in documents],
            ids=[ids for ids, _ in own],
            nats=[value for _, value in own],
            heldout_documents=count,
        )
    return {
        "sources": {source: measures([one]) for source, one in scored.items()},
        "total": measures(list(scored.values())),
        "method": METHOD,
    }


def choose_documents(clean_folder: Path, *, source_bytes: int) -> dict[str, tuple[list[Document], int]]:
    """The documents of every source that are scored, and how many it holds out. Raises DataError if it is none.

    They come in the order of their keys, which are hashes: the first ones are a fair sample. The first document is
    taken whatever its size.
    """
    chosen = {}
    for path in sorted((clean_folder / "heldout").glob("*.jsonl")):
        documents = list(read_documents(path))
        kept: list[Document] = []
        size = 0
        for document in documents:
            size += len(document.said.encode())
            if kept and size > source_bytes:
                break
            kept.append(document)
        if kept:
            chosen[path.stem] = (kept, len(documents))
    if not chosen:
        raise DataError(f"no held-out documents in {clean_folder / 'heldout'}; raise clean.heldout_permille")
    return chosen


def measures(scored: Sequence[Scored]) -> dict[str, Any]:
    """Counts and bits per byte of one source, or of several together."""
    text = b"".join(text for one in scored for text in one.texts)
    tokens = [token for one in scored for ids in one.ids for token in ids]
    return {
        "heldout_documents": sum(one.heldout_documents for one in scored),
        "documents": sum(len(one.texts) for one in scored),
        "bytes": len(text),
        "tokens": len(tokens),
        "bits_per_byte": math.fsum(nats for one in scored for nats in one.nats) / LN2 / len(text),
        "unigram_bits_per_byte": unigram_bits(tokens) / len(text),
        "zstd_bits_per_byte": zstd_bits(text) / len(text),
    }


def draw_sample(model: "Transformer", tokenizer: "Tokenizer", config: ScoreConfig, prompt: str) -> dict[str, Any]:
    """A continuation of a prompt; the same seed and prompt draw the same one."""
    from inference.engine import Sampling, generate

    sampling = Sampling(temperature=config.temperature, top_p=config.top_p, seed=config.seed)
    given = [tokenizer.bos_id, *tokenizer.encode(prompt)]
    ids = generate(
        model, given, max_tokens=config.sample_tokens, stop_id=tokenizer.eos_id, sampling=sampling, stream=prompt
    )
    return {"prompt": prompt, "text": tokenizer.decode(ids), "ids": ids}


def _write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    path.write_bytes(b"".join(canonical_json(line) + b"\n" for line in lines))


def _facts(results: Mapping[str, Any]) -> Facts:
    total, sources = results["total"], results["sources"]
    baselines = f"unigram {total['unigram_bits_per_byte']:.2f}, zstd {total['zstd_bits_per_byte']:.2f}"
    return {
        "came_in": f"{len(sources)} sources, {total['bytes'] / 1000:.0f} kB held out",
        "went_out": f"{total['bits_per_byte']:.3f} bits per byte ({baselines})",
        "bits_per_byte": total["bits_per_byte"],
        "bits_per_byte_by_source": {source: found["bits_per_byte"] for source, found in sources.items()},
        "unigram_bits_per_byte": total["unigram_bits_per_byte"],
        "zstd_bits_per_byte": total["zstd_bits_per_byte"],
    }
