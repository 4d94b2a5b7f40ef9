"""The openness report of a release: one JSON value, and the same as a Markdown page.

It is a function of what is inside, so a verifier makes it again and compares. No page of it calls a release by the
name that the OSI defines unless the definition is met.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.errors import ConfigError
from release.openness import eu, fmti, lineage, mof, osai_index, osaid, spectrum
from release.openness.components import BY_KEY, PARTS, Status
from release.openness.facts import Facts
from release.openness.licences import families, is_open, suits

FORMAT = "wholegrain-openness-1"
TABLES = "MOF 1.0 by lfai/model_openness_tool 8b5d30e; SPDX list d8abdb0; OSAID 1.0; FMTI 12/2025; C(2025) 5235"

Report = dict[str, Any]


def compose(facts: Facts, *, is_replayed: bool = False) -> Report:
    """The report. Raises ConfigError if the author's words claim what the OSI's definition does not give."""
    grade = mof.grade({BY_KEY[key].name: found.licence for key, found in facts.found.items() if found.is_there})
    judged = osaid.judge(facts)
    if facts.words.claims_open_source and judged.verdict is not osaid.Osaid.MEETS:
        raise ConfigError(
            f"the author's words call {facts.name} open source, but by the OSI's definition it {judged.verdict.value}: "
            f"{judged.gaps[0]}; change the words or mend the gap"
        )
    place = spectrum.place(facts, grade, judged, is_replayed=is_replayed)
    answered = {name: said for name, said in fmti.answers(facts).items() if said}
    summary, annex = eu.training_summary(facts), eu.annex_xi(facts)
    return {
        "format": FORMAT,
        "tables": TABLES,
        "name": facts.name,
        "verdict": sentence(place.name, grade, judged),
        "place": {"name": place.name, "next_step": place.next_step, "of": list(spectrum.PLACES)},
        "mof": {
            "class": grade.framework_class,
            "label": grade.label,
            "percent": {str(level): value for level, value in grade.percent.items()},
            "missing": {str(level): names for level, names in grade.missing.items()},
            "not_open": grade.not_open,
            "open_but_not_made_for_this_content": grade.not_suited,
        },
        "osaid": {"verdict": judged.verdict.value, "gaps": list(judged.gaps)},
        "restricted_in_use": lineage.restricted(facts),
        "inherited": lineage.inherited(facts),
        "conflicts": lineage.conflicts(facts),
        "components": [_component(facts, part.key) for part in PARTS],
        "osai_index": osai_index.parameters(facts),
        "fmti": {
            "answered": len(answered),
            "of": len(fmti.answers(facts)),
            "out_of_scope": fmti.OUT_OF_SCOPE,
            "answers": answered,
        },
        "eu_training_summary": {"filled": eu.filled(summary), "fields": _fields(summary)},
        "eu_annex_xi": {"filled": eu.filled(annex), "fields": _fields(annex)},
        "cannot": cannot(facts),
    }


def sentence(place: str, grade: mof.Grade, judged: osaid.Judgement) -> str:
    """The verdict in one line."""
    meets = judged.verdict is osaid.Osaid.MEETS
    return f"{place}; MOF {grade.label}; OSAID {judged.verdict.value}" + (": open source AI" if meets else "")


def cannot(facts: Facts) -> list[str]:
    """What somebody who has the release still cannot do."""
    there = {key: found.is_there and is_open(found.licence) for key, found in facts.found.items()}
    lines = [
        (not facts.found["final"].is_there, "run it: the weights are not there"),
        (
            facts.found["final"].is_there and not there["final"],
            "use the weights for everything: their licence is not open",
        ),
        (not (there["training_code"] and there["datasets"]), "train it again: code or data are not there, or not open"),
        (not there["evaluation_data"], "score it again on the same texts"),
        (not there["intermediate"], "go back to an earlier state of the training"),
        (
            not facts.words.declared.get("energy_kwh"),
            "say from the release itself what it cost in energy: nobody declared it",
        ),
    ]
    return [said for holds, said in lines if holds]


def to_markdown(report: Report) -> str:
    """The report as a page."""
    components = [
        (
            row["name"],
            row["status"],
            row["licence"] or "none",
            ", ".join(row["families"]) if row["status"] in ("present", "by reference") else "",
            "; ".join(filter(None, (row["proof"], row["note"]))),
        )
        for row in report["components"]
    ]
    percent = ", ".join(f"class {'I' * int(level)} {value:.0f} %" for level, value in report["mof"]["percent"].items())
    return f"""\
# How open {report["name"]} is

**{report["verdict"]}.** Computed from what is inside, not from what is claimed: a part that does not hold together
counts as missing. Nothing here is legal advice.

- Place: {_places(report["place"])}
- Next step: {report["place"]["next_step"] or "none"}
- Model Openness Framework: {report["mof"]["label"]} ({percent})
- OSAID 1.0: {report["osaid"]["verdict"]}{_list("; gaps: ", report["osaid"]["gaps"])}
- Restricted in use (D data, A application, M model, S source): {report["restricted_in_use"]}
- You cannot: {"; ".join(report["cannot"]) or "nothing is held back"}

## Parts
{table(("part", "status", "licence", "family", "what proves it"), components)}
Open, but made for other content: {"; ".join(report["mof"]["open_but_not_made_for_this_content"]) or "none"}.

## Conditions from what it was made from
{_bullets(f"{condition}: {', '.join(names)}" for condition, names in report["inherited"].items())}
Conflicts to look at (whether a condition reaches through training is unsettled; nothing is resolved here):
{_bullets(report["conflicts"])}
## European OSAI Index
{table(("parameter", "class"), report["osai_index"].items())}
## Foundation Model Transparency Index
{report["fmti"]["answered"]} of {report["fmti"]["of"]} indicators that a release can answer; out of scope:
{report["fmti"]["out_of_scope"]}.

{table(("indicator", "answer"), report["fmti"]["answers"].items())}
## EU: summary of training content ({report["eu_training_summary"]["filled"]} fields)
{_form(report["eu_training_summary"]["fields"])}
## EU: Annex XI ({report["eu_annex_xi"]["filled"]} fields)
{_form(report["eu_annex_xi"]["fields"])}
Tables: {report["tables"]}.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; what would end a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(value) for value in line)} |\n" for line in lines)


def _component(facts: Facts, key: str) -> Report:
    part, found = BY_KEY[key], facts.found[key]
    return {
        "key": key,
        "name": part.name,
        "content": part.content,
        "mof_class": part.framework_class,
        "is_required": part.is_required,
        "status": found.status.value,
        "paths": list(found.paths),
        "bytes": found.bytes,
        "licence": found.licence,
        "families": families(found.licence) if found.status is not Status.MISSING else [],
        "is_open": found.is_there and is_open(found.licence),
        "is_made_for_this_content": found.is_there and suits(found.licence, part.content),
        "proof": found.proof,
        "note": found.note,
    }


def _fields(fields: Iterable[eu.Field]) -> list[Mapping[str, str]]:
    return [{"number": row.number, "title": row.title, "value": row.value, "how": row.how} for row in fields]


def _form(fields: Iterable[Mapping[str, str]]) -> str:
    rows = [(row["number"], row["title"], row["value"] or "**left open**", row["how"]) for row in fields]
    return table(("no.", "field", "value", "how known"), rows)


def _places(place: Mapping[str, Any]) -> str:
    return " → ".join(f"**{name}**" if name == place["name"] else name for name in place["of"])


def _list(lead: str, values: Sequence[str]) -> str:
    return lead + "; ".join(values) if values else ""


def _bullets(values: Iterable[str]) -> str:
    return "".join(f"- {value}\n" for value in values) or "- none\n"


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
