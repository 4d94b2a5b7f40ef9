"""The indicators of the Foundation Model Transparency Index that a release can answer by itself.

Source: Stanford CRFM, FMTI of December 2025: 100 indicators, of which 36 are about what happens downstream. Those, and
what only a company can say of itself, are out of scope here and not scored.
"""

from release.openness.facts import Facts

TOTAL = 100
OUT_OF_SCOPE = "downstream use, and what only a company can say of itself"


def answers(facts: Facts) -> dict[str, str]:
    """What is answered, by indicator; an empty text is an indicator that the release leaves open."""
    return {**_upstream(facts), **_model(facts)}


def _upstream(facts: Facts) -> dict[str, str]:
    found, words = facts.found, facts.words.declared
    sources = facts.sources if found["datasets"].is_there else ()
    crawled = [source.name for source in sources if source.kind in ("crawl", "commoncrawl")]
    tokens, size = sum(source.tokens for source in sources), sum(source.bytes for source in sources)
    return {
        "data size": f"{tokens} tokens, {size} bytes of text" if tokens else "",
        "data languages": ", ".join(facts.languages),
        "public data sets": ", ".join(f"{source.name} ({source.locator})" for source in sources),
        "crawling": (", ".join(crawled) or "no source is a crawl") if sources else "",
        "synthetic data": "no source is stated to be synthetic" if sources else "",
        "data licences": facts.data_licence if sources else "",
        "data processing: methods": "the code of the stages, and data/CARD.md step by step" if sources else "",
        "data processing: what was dropped": ", ".join(f"{n} {reason}" for reason, n in sorted(facts.dropped.items()))
        or ("nothing was dropped" if sources else ""),
        "personal data in the data": words.get("personal_data", ""),
        "external access to the data": "shards and order are in the release" if sources else "",
        "replicability of the data": "python -m data rebuild makes it again and compares the roots" if sources else "",
        "compute": f"{facts.flops:.3g} FLOP ({facts.flops_by})" if facts.flops else "",
        "development duration": words.get("hardware", ""),
        "hardware": words.get("hardware", ""),
        "energy": words.get("energy_kwh", ""),
        "training stages": ", ".join(stage for stage, _, _ in facts.flow),
        "training objectives": "next-token cross entropy" if facts.training else "",
        "hyper-parameters": "config/recipe.yaml, with no default left out" if facts.training else "",
        "code access": "the very code, as a git bundle" if found["training_code"].is_there else "",
        "cost": words.get("cost", ""),
    }


def _model(facts: Facts) -> dict[str, str]:
    found = facts.found
    scores = ", ".join(
        f"{name} {said.get('bits_per_byte', 0):.3f} bits per byte" for name, said in facts.scores.items()
    )
    return {
        "basic model properties": f"{facts.architecture}, {facts.parameters} parameters" if facts.parameters else "",
        "deeper model properties": f"context {facts.context_tokens}, vocabulary {facts.vocab_size}, {facts.dtype}"
        if facts.vocab_size
        else "",
        "dependencies": f"{facts.packages} packages by hash" if facts.packages else "",
        "open weights": facts.licence if found["final"].is_there else "",
        "capabilities evaluation": scores or ("declared in the card" if found["results"].is_there else ""),
        "reproducibility of evaluation": "code and held-out texts are inside"
        if found["evaluation_data"].is_there
        else "",
        "train-test overlap": f"looked for {', '.join(facts.benchmarks)}" if facts.benchmarks else "",
        "risks": "in the model card" if facts.words.says("Bias, risks and limits") else "",
        "versioning": ", ".join(facts.heads.values())[:64],
        "change log": facts.words.declared.get("changes", ""),
        "terms of use": facts.words.declared.get("acceptable_use", ""),
    }
