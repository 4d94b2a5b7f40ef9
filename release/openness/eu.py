"""Fields that the European Union's AI Act asks a provider of a general-purpose model to fill, filled from facts.

Sources: the template for the public summary of training content, C(2025) 5235, 24 July 2025; Annex XI of Regulation
(EU) 2024/1689, section 1. Field numbers are the template's, wording is ours and was not compared with the official
text. This fills a form; whether the Act applies, and what it asks, a lawyer must say. Below 1e23 FLOP a model is not
presumed to be of general purpose.

Each field says how it is known: `computed` from what is inside, `declared` by the author, or `open`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from release.openness.facts import Facts, Source

GENERAL_PURPOSE_FLOPS = 1e23
BINS = ((1_000_000_000, "less than 1 billion tokens"), (10_000_000_000_000, "1 billion to 10 trillion tokens"))
LARGEST_BIN = "more than 10 trillion tokens"
CRAWLS = ("crawl", "commoncrawl", "warc")
OWN_FILES = ("files",)
COMPUTED, DECLARED, OPEN = "computed", "declared", "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a form."""

    number: str
    title: str
    value: str
    how: str


def training_summary(facts: Facts) -> list[Field]:
    """The public summary of training content."""
    is_known = facts.found["datasets"].is_there
    tokens = sum(source.tokens for source in facts.sources)
    crawled = [source for source in facts.sources if source.kind in CRAWLS]
    own = [source for source in facts.sources if source.kind in OWN_FILES]
    public = [source for source in facts.sources if source.kind not in (*CRAWLS, *OWN_FILES)]
    return [
        _declared("1.1", "provider", facts, "provider"),
        _declared("1.1", "authorised representative", facts, "representative"),
        _computed("1.2", "model and version", f"{facts.name}, {facts.heads.get('trajectory_head', '')[:16]}", is_known),
        _computed("1.2", "models it depends on", _names(p.name for p in facts.parents) or "none", is_known),
        _declared("1.2", "date of placement on the market", facts, "released"),
        _computed("1.3", "modality", "text", is_known),
        _computed("1.3", "size of text", f"{size_bin(tokens)}: {tokens} tokens", bool(tokens)),
        _computed("1.3", "types of content", _names(f"{s.name} ({s.kind})" for s in facts.sources), is_known),
        _computed(
            "1.3",
            "latest version of the data",
            _names(f"{s.name} {s.version}" for s in facts.sources if s.version),
            is_known,
        ),
        _computed("1.3", "continuous training", "no: the release is one run, and ends", is_known),
        _computed(
            "1.3", "languages by bytes", _names(f"{name} {size}" for name, size in facts.languages.items()), is_known
        ),
        _computed("2.1", "public data sets", _sources(public) or "none is named as a source", is_known),
        _computed("2.2", "licensed or other private data sets", "none is named as a source", is_known),
        _computed("2.3", "crawled data", _sources(crawled) or "no source is a crawl", is_known),
        _computed(
            "2.3", "top domains", "not counted: ask for a count by domain" if crawled else "none: no crawl", is_known
        ),
        _computed("2.4", "user data", "none is named as a source", is_known),
        _computed("2.5", "synthetic data", "none is named as a source", is_known),
        _computed("2.6", "other: files that the provider had", _sources(own) or "none", is_known),
        _declared("3.1", "opt-outs from text and data mining", facts, "text_and_data_mining"),
        _declared("3.1", "code of practice", facts, "code_of_practice"),
        _computed("3.1", "licences of sources", _names(f"{s.name}: {s.licence}" for s in facts.sources), is_known),
        _declared("3.2", "illegal content", facts, "illegal_content"),
        _computed("3.3", "documents taken down on request", str(facts.taken_down), is_known),
    ]


def annex_xi(facts: Facts) -> list[Field]:
    """Technical documentation by Annex XI, section 1."""
    is_known, has_code = facts.found["datasets"].is_there, facts.found["training_code"].is_there
    dropped = (
        _names(f"{count} for {reason}" for reason, count in sorted(facts.dropped.items())) or "nothing was dropped"
    )
    masked = "; personal data masked by rules" if facts.masked else "; no personal data was looked for"
    return [
        _text("1(a)", "tasks", facts, "Intended use"),
        _declared("1(b)", "acceptable use", facts, "acceptable_use"),
        _declared("1(c)", "date of release", facts, "released"),
        _declared("1(c)", "distribution", facts, "distribution"),
        _computed(
            "1(d)",
            "architecture and size",
            f"{facts.architecture}, {facts.parameters} parameters",
            bool(facts.parameters),
        ),
        _computed(
            "1(e)",
            "modality and format",
            f"text in, text out; at most {facts.context_tokens} tokens",
            bool(facts.context_tokens),
        ),
        _computed("1(f)", "licence", facts.licence, bool(facts.licence)),
        _computed(
            "2(a)",
            "means to integrate",
            f"{facts.packages} pinned packages; a Hugging Face folder",
            bool(facts.packages),
        ),
        _computed("2(b)", "training method", _method(facts), bool(facts.training)),
        _text("2(b)", "key choices and why", facts, "Design choices"),
        _computed("2(c)", "data: type and provenance", _sources(facts.sources), is_known),
        _computed("2(c)", "data: curation", f"dropped: {dropped}{masked}", is_known),
        _text("2(c)", "data: detection of bias", facts, "Bias, risks and limits"),
        _computed("2(d)", "compute", f"{facts.flops:.3g} FLOP: {facts.flops_by}", bool(facts.flops)),
        _declared("2(d)", "hardware and time", facts, "hardware"),
        _declared("2(e)", "energy", facts, "energy_kwh"),
        _computed("-", "code", "the very code, as a git bundle", has_code),
        _computed("-", "presumed of general purpose", _presumed(facts.flops), bool(facts.flops)),
    ]


def size_bin(tokens: int) -> str:
    """The template's size class of text."""
    return next((name for limit, name in BINS if tokens < limit), LARGEST_BIN)


def filled(fields: Iterable[Field]) -> str:
    """How many fields have a value, of how many."""
    rows = list(fields)
    return f"{sum(row.how != OPEN for row in rows)}/{len(rows)}"


def _presumed(flops: float) -> str:
    return f"{'yes' if flops >= GENERAL_PURPOSE_FLOPS else 'no'}: {flops:.3g} against {GENERAL_PURPOSE_FLOPS:.0e} FLOP"


def _method(facts: Facts) -> str:
    train = facts.training
    names = ("optimizer", "schedule", "lr", "weight_decay", "steps", "micro_batches", "micro_batch", "seed")
    return "next-token cross entropy; " + ", ".join(f"{name} {train[name]}" for name in names if name in train)


def _sources(sources: Iterable[Source]) -> str:
    return _names(f"{source.name} ({source.locator}, {source.tokens} tokens)" for source in sources)


def _names(values: Iterable[str]) -> str:
    return "; ".join(values)


def _computed(number: str, title: str, value: str, is_known: bool) -> Field:
    is_there = is_known and bool(value)
    return Field(number=number, title=title, value=value if is_there else "", how=COMPUTED if is_there else OPEN)


def _declared(number: str, title: str, facts: Facts, name: str) -> Field:
    value = facts.words.declared.get(name, "")
    return Field(number=number, title=title, value=value, how=DECLARED if value else OPEN)


def _text(number: str, title: str, facts: Facts, heading: str) -> Field:
    says = facts.words.says(heading)
    value = f"in the model card, under '{heading}'" if says else ""
    return Field(number=number, title=title, value=value, how=DECLARED if says else OPEN)
