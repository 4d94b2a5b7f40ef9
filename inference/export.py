"""Stage export: a trained checkpoint as a Hugging Face folder that has been loaded and compared.

Reads the clean and tokenizer artifacts and the last model that was made: trained, merged or quantized. Writes the
folder (inference/huggingface.py) and comparison.json.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from core.artifact import WITNESS, Artifact, Facts, build, current, plan
from core.cli import recipe_and_overrides
from core.config import RunConfig, identity, load
from core.errors import DataError
from core.hashing import canonical_json
from core.profile import ProfileConfig, apply, fingerprint
from core.stages import inputs_of, weights_stage
from inference.config import ExportConfig

if TYPE_CHECKING:
    from inference.compare import Comparison

# By the stage that made the model: how many weights, how they came about, what they are of, and the stage's name.
SAID = {
    "train": ("after {steps:,} steps", "trained for {steps:,} steps", "final checkpoint", "training"),
    "merge": ("merged of several models", "merged of several models", "merged model", "merging"),
    "quantize": ("as quantized", "each the value that its quantized form stands for", "quantized model", "quantizing"),
}


def main(arguments: list[str]) -> None:
    """Verb `export`: make the artifact of stage export and write its folder to standard output."""
    recipe, overrides = recipe_and_overrides(arguments, "python -m inference export")
    run = load(recipe, "run", RunConfig, overrides)
    config = load(recipe, "export", ExportConfig, overrides)
    profile = load(recipe, "profile", ProfileConfig, overrides)
    inputs = {stage: current(run.inputs_folder, stage) for stage in inputs_of("export", recipe, overrides)}
    wanted = plan(
        "export",
        folder="inference",
        out=run.out_folder,
        config={**identity(config), "profile": fingerprint(profile)},
        inputs=inputs,
    )
    artifact = build(wanted, lambda aside: write_export(aside, inputs, config=config, profile=profile))
    sys.stdout.write(f"{artifact.folder}\n")


def write_export(aside: Path, inputs: Mapping[str, Artifact], *, config: ExportConfig, profile: ProfileConfig) -> Facts:
    """Write the folder, load it with transformers, compare, and return the facts."""
    apply(profile)
    from data.tokenizer import MODEL, Tokenizer
    from inference.compare import compare, heldout_sample
    from inference.huggingface import write_model, write_tokenizer
    from inference.weights import load_trained
    from model.numerics import honour

    honour(profile)
    tokenizer = Tokenizer.open(inputs["tokenizer"].folder)
    model = load_trained(inputs[weights_stage(inputs)], attention=profile.attention)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise DataError(
            f"the tokenizer has {tokenizer.vocab_size} pieces, the model {model.config.vocab_size} embeddings; "
            "train the model with this tokenizer"
        )
    write_model(aside, model, tokenizer=tokenizer)
    write_tokenizer(aside, inputs["tokenizer"].folder / MODEL, max_seq_len=model.config.max_seq_len)
    documents = heldout_sample(inputs["clean"].folder, per_source=config.token_documents)
    comparison = compare(aside, model, tokenizer=tokenizer, documents=documents, config=config)
    _write_comparison(aside, comparison, config)
    parameters, made = model.config.parameter_count, weights_stage(inputs)
    (aside / "README.md").write_text(_card(inputs, config, parameters), encoding="utf-8")
    return {
        "came_in": f"{parameters:,} weights {SAID[made][0].format(**inputs[made].facts)}",
        "went_out": f"Hugging Face folder; {comparison.documents:,} documents get the same token ids, "
        f"logits within {config.max_logit_difference:g}",
    }


def _write_comparison(aside: Path, comparison: "Comparison", config: ExportConfig) -> None:
    verdict = {
        "documents": comparison.documents,
        "tokens": comparison.tokens,
        "are_token_ids_equal": True,
        "logit_windows": comparison.logit_windows,
        "max_logit_difference_allowed": config.max_logit_difference,
        "are_logits_within_bound": True,
        "do_greedy_continuations_agree": True,
        "strength": "tolerance",
    }
    (aside / "comparison.json").write_bytes(canonical_json(verdict))
    # transformers' own kernels are not in the profile's promise, so what they gave is not part of the artifact.
    witness = aside / WITNESS
    witness.mkdir(exist_ok=True)
    (witness / "comparison.json").write_bytes(canonical_json(asdict(comparison)))


def _card(inputs: Mapping[str, Artifact], config: ExportConfig, parameters: int) -> str:
    maker = weights_stage(inputs)
    facts = inputs[maker].facts
    _, made, what, making = SAID[maker]
    head = f"| trajectory head of the training ledger | `{facts['trajectory_head']}` |\n" if facts["steps"] else ""
    return f"""---
license: {config.license.lower()}
library_name: transformers
pipeline_tag: text-generation
tags: [wholegrain]
---
# A model of Llama's shape, made by Wholegrain

{parameters:,} parameters in fp32, {made.format(**facts)}. Every number of this folder follows from code,
data, configuration and one numerics profile; the release bundle it belongs to redoes and checks it.

| what | SHA-256 |
|---|---|
{head}| weights of the {what} | `{facts["weights_sha256"]}` |
| artifact of the {making} stage | `{inputs[maker].digest}` |
| artifact of the tokenizer stage | `{inputs["tokenizer"].digest}` |
| artifact of the cleaning stage | `{inputs["clean"].digest}` |

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
```

It continues text; it was not tuned to follow instructions or to refuse. `comparison.json` says how the folder was held
against the trainer's own model: token ids equal, logits within a tolerance.
"""
