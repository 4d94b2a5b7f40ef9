"""CARD.md: a corpus for people. What came in, what was dropped and why, languages, licences, personal data, limits.

A pure function of the manifest: it can say nothing that the manifest does not hold.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data.corpus.accounts import UNREADABLE, steps_of

Record = Mapping[str, Any]

# What the names of reasons say too shortly; a name that ends in _ is a beginning.
MEANINGS = {
    "duplicate": "the same text as another document, which stays",
    "near_duplicate": "nearly the text of another document, which stays",
    "taken_down": "someone asked for it to be taken out",
    "contaminated_": "shares words in a row with this evaluation set",
    "language_": "in this language, which its source should not have",
    "refused_": "holds what the recipe refuses under this name",
    "undecoded": "holds characters that could not be decoded",
    "too_few_chars": "fewer characters than asked for",
    "too_few_words": "fewer words than asked for",
    "symbols": "too many signs that are neither letters, digits nor punctuation",
    "digits": "too many digits",
    "repeated_lines": "too many lines that repeat",
    "long_word": "a word longer than asked for: a key, a table, a dump",
    "c4_": "a rule of C4",
    "gopher_": "a rule of Gopher",
    "fineweb_": "a rule of FineWeb",
    f"{UNREADABLE}_": "could not be read",
    "no_messages": "no conversation or pair by the names that the recipe gives",
    "unknown_role": "a role that the recipe does not know",
    "empty_message": "a message without text",
    "roles_out_of_order": "an answer to nobody, or the system not at the beginning",
    "no_answer": "a conversation in which the assistant says nothing",
    "same_answers": "a pair with one answer twice",
}


def card(manifest: Record) -> str:
    """The card, in Markdown."""
    parts = (head, came_in, dropped, languages, licences, personal_data, evaluation, limits, check)
    return "\n".join(f"{part(manifest)}" for part in parts)


def head(manifest: Record) -> str:
    """Name, size and root."""
    total, order = manifest["cleaning"]["total"], manifest["order"]
    tokens = sum(source["tokens"] for source in order["sources"])
    return f"""\
# {manifest["name"]}: data card

{total["train"]["documents"]:,} documents ({_size(total["train"]["bytes"])}) to train on, in {len(manifest["shards"])} \
shards of {tokens:,} tokens; {total["heldout"]["documents"]:,} documents are held out. The corpus is known by its root
`{manifest["roots"]["corpus"]}`.
This page is made from `manifest.json` and holds nothing that is not there.
"""


def came_in(manifest: Record) -> str:
    """A table of the sources: what came in and what is left of it."""
    cleaned = manifest["cleaning"]["sources"]
    rows = [
        (
            source["name"],
            f"`{source['locator']}`",
            _size(source["bytes"]),
            f"{cleaned[source['name']]['in']['documents']:,}",
            f"{cleaned[source['name']]['train']['documents']:,} ({_size(cleaned[source['name']]['train']['bytes'])})",
            f"{cleaned[source['name']]['heldout']['documents']:,}",
            f"{cleaned[source['name']]['dropped']['documents']:,}",
        )
        for source in manifest["sources"]
    ]
    weights = [
        f"- from sample {phase['start']:,} on: {', '.join(f'{k} {v}' for k, v in sorted(phase['weights'].items()))}"
        for phase in manifest["order"]["phases"]
    ]
    return f"""\
## What came in
{_table(("source", "what it is", "fetched", "documents", "to train on", "held out", "dropped"), rows)}
How much of each source a training sees, as whole-number weights:

{_lines(weights)}{_forms(manifest["order"])}"""


def _forms(order: Record) -> str:
    """What a training sees of conversations or pairs; nothing of plain text."""
    if "form" not in order:
        return ""
    lines = [
        f"- {source['name']}: {source['documents']:,} {order['form']} in {source['windows']:,} windows, "
        f"{source['targets']:,} of {source['tokens']:,} tokens count, "
        f"{sum(source['dropped'].values()):,} were too long, {source['truncated']:,} truncated"
        for source in order["sources"]
    ]
    return f"\nWhat the assistant says is learned, by the template {order['chat']['template']}:\n\n{_lines(lines)}"


def dropped(manifest: Record) -> str:
    """A table of reasons, with what a reason means where its name does not say it."""
    reasons = Counter(manifest["cleaning"]["total"]["dropped"]["reasons"])
    rows = [(f"`{reason}`", f"{count:,}", meaning(reason)) for reason, count in sorted(reasons.items())]
    total = manifest["cleaning"]["total"]
    whole = total["in"]["documents"]
    share = 100 * total["dropped"]["documents"] / whole if whole else 0.0
    table = _table(("reason", "documents", "meaning"), rows) if rows else "Nothing was dropped.\n"
    return f"""\
## What was dropped, and why
{total["dropped"]["documents"]:,} of {whole:,} documents ({share:.1f} %). Every one is listed by key and reason in \
`dropped.jsonl` of the stage clean (SHA-256 `{manifest["documents"]["dropped"]["sha256"]}`).

{table}
{_steps(total)}Besides, {_size(total["normalized_away_bytes"])} went with bringing text into its normal form, and \
{_size(total["edited_away_bytes"])} with masking and taking out lines (a negative number was added).
"""


def _steps(total: Record) -> str:
    """A table of the steps that may drop, in their order."""
    rows = [
        (step, *(f"{flow[side]['documents']:,}" for side in ("in", "out")), f"{sum(flow['dropped'].values()):,}")
        for step, flow in steps_of(total)
    ]
    return f"Step by step:\n\n{_table(('step', 'came in', 'went out', 'dropped'), rows)}\n"


def meaning(reason: str) -> str:
    """What a reason means, where its name says it too shortly."""
    if reason in MEANINGS:
        return MEANINGS[reason]
    return next((said for name, said in MEANINGS.items() if name[-1] == "_" and reason.startswith(name)), "")


def languages(manifest: Record) -> str:
    """What the sources say of their language, and what was found."""
    stated = Counter[str]()
    cleaned = manifest["cleaning"]["sources"]
    for source in manifest["sources"]:
        stated[source["language"]] += cleaned[source["name"]]["train"]["bytes"]
    rows = [(f"`{language}`", _size(size)) for language, size in stated.most_common()]
    found = Counter(manifest["cleaning"]["total"]["languages"])
    told = (
        "Told apart by a model, in documents that stay: "
        + ", ".join(f"{language} {count:,}" for language, count in sorted(found.items()))
        if found
        else "No model was asked which language a document is in."
    )
    return f"""\
## Languages
As the sources state it, by bytes of text to train on:

{_table(("language", "text"), rows)}
{told}
"""


def licences(manifest: Record) -> str:
    """Licences with what they rest on."""
    rows = [
        (
            source["name"],
            source["license"],
            source["license_note"] or "",
            "<br>".join(f"{entry['name']} `{entry['sha256'][:16]}`" for entry in source["evidence"]) or "none",
        )
        for source in manifest["sources"]
    ]
    return f"""\
## Licences
As each source's own papers say it; nobody has asked a lawyer. Behind each file of evidence is the beginning of its
SHA-256.

{_table(("source", "licence (SPDX)", "what it rests on", "evidence"), rows)}"""


def personal_data(manifest: Record) -> str:
    """What was masked, or that nothing was looked for."""
    mask = manifest["recipe"]["sections"]["clean"].get("mask", {})
    asked = sorted(kind for kind, is_on in mask.items() if is_on is True)
    masked = manifest["cleaning"]["total"]["masked"]
    done = (
        f"Looked for: {', '.join(asked)}; each find is one fixed placeholder. In the documents that stay: "
        + (", ".join(f"{kind} {count:,}" for kind, count in sorted(masked.items())) or "none found")
        + "."
        if asked
        else "Nothing was looked for and nothing masked."
    )
    taken = manifest["tombstones"]["documents"]
    rows = [(f"`{one['key']}`", one["source"] or "not in the sources", one["date"], one["reason"]) for one in taken]
    table = _table(("document", "source", "date", "reason"), rows) if rows else "None so far.\n"
    return f"""\
## Personal data
{done} Names, and what is written of people in prose, stay as they are.

Documents taken down on request:

{table}
A document can be taken down by its key, the first 32 hex digits of the SHA-256 of its text: `python -m data redact PACK
--document KEY --reason TEXT --date DAY`, in a copy of the shards, and `clean.taken_down` for the next corpus.
"""


def evaluation(manifest: Record) -> str:
    """Evaluation sets that were looked for."""
    rows = [
        (one["name"], f"`{one['sha256'][:16]}`", *(f"{one['found'].get(name, 0):,}" for name in FOUND))
        for one in manifest["benchmarks"]
    ]
    table = _table(("evaluation set", "SHA-256", *FOUND), rows) if rows else "None were looked for.\n"
    return f"## Evaluation sets that were looked for\n{table}"


FOUND = ("records", "too_short", "found", "documents")


def limits(manifest: Record) -> str:
    """What the corpus is not."""
    return f"""\
## Limits
- Rules and models decided what stays; no person has read it. Rules made for English prose treat other text worse.
- The text says what its authors said: errors, opinions and what was true when it was written are in it.
- Languages, subjects and authors are as the sources have them; nothing was balanced but by the weights above.
- Bytes follow from the recipe and Python {manifest["environment"]["python"]}, Unicode \
{manifest["environment"]["unicode"]} and the packages that `manifest.json` lists; others may give another corpus.
"""


def check(manifest: Record) -> str:
    """How to check and to rebuild it."""
    roots = [(name, f"`{root}`") for name, root in manifest["roots"].items()]
    return f"""\
## Check it, rebuild it
`python -m data verify DIR` checks files against the manifest, `--sample N` only N leaves of the shards; `python -m \
data rebuild manifest.json` makes it again from the sources and compares these roots:

{_table(("part", "root"), roots)}"""


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _lines(rows: Iterable[str]) -> str:
    return "".join(f"{row}\n" for row in rows)
