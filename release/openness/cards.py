"""Model card and technical report: facts of the release, the author's own words, and template text that says so."""

from collections.abc import Mapping
from typing import Any

import yaml

from release.openness.facts import Facts
from release.openness.report import Report, table
from release.openness.words import MIN_WORDS

MADE = "*Made from the facts of this release. What its author wrote stands under the headings marked with a pen (✎).*"
LIMITS = (
    "It is a language model: it continues text, and what it says may be false, unfair or taken from its training text. "
    "What it was trained on decides what it can do; nothing here says that it is fit for any use."
)


def model_card(facts: Facts, report: Report) -> str:
    """The model card, with the head that Hugging Face's hub reads."""
    return f"""\
---
{_head(facts)}---
# {facts.name}: model card

{MADE}

{table(("what", "value"), _basics(facts))}
## How open
{report["verdict"]}. Restricted in use: {report["restricted_in_use"]}. The whole reckoning is in `openness.md`.

{own(facts, "Intended use", "Nobody has said what this model is for. Do not use it where a mistake matters.")}
{own(facts, "Out of scope", "Nobody has said what this model is not for.")}
{own(facts, "Bias, risks and limits", LIMITS)}
## Training data
{table(("source", "licence", "language", "documents", "tokens"), _sources(facts))}
The data card is `data/CARD.md`.
{own(facts, "Data", "", is_needed=False)}
## Evaluation
{table(("held-out text", "bits per byte", "unigram", "zstd"), _scores(facts))}
Lower is better; unigram and zstd are what no model is needed for. Scores are of this release's own held-out documents,
so they compare with nothing else.
{own(facts, "Evaluation", "", is_needed=False)}
## Verify
`sh verify.sh` in the bundle; `report/index.html` shows what each level of it means.
"""


def technical_report(facts: Facts, report: Report) -> str:
    """The technical report: what was done, with which numbers."""
    return f"""\
# {facts.name}: technical report

{MADE}

## Model
{table(("what", "value"), [*_basics(facts), *_values(facts.model)])}
## Training
{table(("what", "value"), [*_losses(facts), *_values(facts.training)])}
## Cost
{table(("what", "value", "unit", "how known", "from"), costs(facts))}
Hours, memory and energy, as the clock and the machine told them, are in `witness/cost.json`, outside the root.
{own(facts, "Design choices", "Nobody has said why it was made this way.")}
## Data flow
{table(("stage", "came in", "went out"), facts.flow)}
## Results
{table(("held-out text", "bits per byte", "unigram", "zstd"), _scores(facts))}
{own(facts, "Findings", "Nobody has said what was found.")}
## Reproduction
{table(("head", "SHA-256"), facts.heads.items())}
`sh reproduce.sh` makes all of it again and compares; bits are comparable under profile `{facts.profile}` only.

## How open
{report["verdict"]}
{own(facts, "Acknowledgements", "", is_needed=False)}"""


def costs(facts: Facts) -> list[tuple[object, ...]]:
    """The rows of cost.json."""
    return [(row["name"], row["value"], row["unit"], row["how"], row["from"]) for row in facts.cost["values"]]


def own(facts: Facts, heading: str, template: str, *, is_needed: bool = True) -> str:
    """A section of the author's own words, or template text that says so; nothing if neither is there or needed."""
    said = facts.words.sections.get(heading, "")
    if facts.words.says(heading) or (said and not is_needed):
        return f"\n## ✎ {heading}\n{said}\n"
    if not is_needed:
        return ""
    short = f" (fewer than {MIN_WORDS} words were written)" if said else ""
    return f"\n## {heading}\n*Template text, not its author's{short}:* {template}\n"


def framework_file(facts: Facts, report: Report) -> bytes:
    """mof.yml: the parts that are there, in the form of lfai/model_openness_tool."""
    there = [row for row in report["components"] if row["status"] in ("present", "by reference") and row["mof_class"]]
    release = {
        "name": facts.name,
        "version": facts.heads.get("trajectory_head", "")[:16],
        "date": facts.words.declared.get("released", ""),
        "type": "language",
        "architecture": "transformer decoder",
        "treatment": "pre-trained",
        "origin": ", ".join(parent.name for parent in facts.parents),
        "producer": facts.words.declared.get("provider", ""),
        "contact": "",
        "license": {},
        "components": [
            {
                "name": row["name"],
                "description": row["proof"],
                "license": row["licence"],
                "component_path": row["paths"][0] if row["paths"] else row["note"],
            }
            for row in there
        ],
    }
    framework = {"name": "Model Openness Framework", "version": "1.0", "date": "2024-12-15"}
    text: str = yaml.safe_dump(
        {"framework": framework, "release": release}, sort_keys=False, allow_unicode=True, width=120
    )
    return text.encode()


def _head(facts: Facts) -> str:
    head: dict[str, Any] = {"license": facts.licence.lower(), "language": [name for name in facts.languages if name]}
    head |= {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["wholegrain"]}
    if facts.parents:
        head["base_model"] = [parent.name for parent in facts.parents]
    return str(yaml.safe_dump(head, sort_keys=False, allow_unicode=True))


def _basics(facts: Facts) -> list[tuple[str, object]]:
    return [
        ("architecture", facts.architecture),
        ("parameters", f"{facts.parameters:,}"),
        ("context", f"{facts.context_tokens} tokens"),
        ("vocabulary", f"{facts.vocab_size} pieces"),
        ("numbers", facts.dtype),
        ("trained for", f"{facts.steps} steps, {facts.tokens_trained:,} tokens"),
        ("compute", f"{facts.flops:.3g} FLOP: {facts.flops_by}"),
        ("licence", facts.licence),
        ("made from", ", ".join(parent.name for parent in facts.parents) or "no other model"),
    ]


def _losses(facts: Facts) -> list[tuple[str, object]]:
    if not facts.losses:
        return []
    first, last, least = facts.losses[0], facts.losses[-1], min(facts.losses)
    return [("loss", f"{first:.4f} at the first step, {last:.4f} at the last, {least:.4f} the least")]


def _values(section: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [(name, value) for name, value in sorted(section.items()) if not isinstance(value, dict)]


def _sources(facts: Facts) -> list[tuple[object, ...]]:
    return [(s.name, s.licence, s.language, s.documents, s.tokens) for s in facts.sources]


def _scores(facts: Facts) -> list[tuple[object, ...]]:
    names = ("bits_per_byte", "unigram_bits_per_byte", "zstd_bits_per_byte")
    return [
        (source, *(f"{said[name]:.3f}" if name in said else "" for name in names))
        for source, said in sorted(facts.scores.items())
    ]
