"""report/index.html: all of a release on one page, without network or script, also on a phone."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from release.ladder import LEVELS
from release.openness.facts import Facts
from release.openness.report import Report

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 260, 60, 34, 10
MAX_POINTS = 600
LONGEST_WORD = 30
MADE_WITH_IT = "This page was made with the release and cannot vouch for it."
FOUND = "This page was made by the verifier that its beginning tells of; to check it, verify yourself."
STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5b6570;--line:#d7dce1;--paper:#fff;--card:#f5f7f8;--good:#137a4a;
--bad:#b3261e;--half:#8a6100;--accent:#2458b3}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--dim:#9aa4ae;--line:#3a4149;--paper:#14171a;--card:#1d2125;
--good:#5fc596;--bad:#f2938c;--half:#e0b65c;--accent:#8ab4f8}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;overflow-wrap:break-word}
main{max-width:60rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;margin:.5rem 0}
h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
p{margin:.5rem 0}
.dim{color:var(--dim)}
.verdict{font-size:1.1rem;font-weight:600}
ol.path{display:flex;flex-wrap:wrap;gap:.35rem;list-style:none;padding:0;margin:.75rem 0}
ol.path li{padding:.2rem .6rem;border:1px solid var(--line);border-radius:1rem;color:var(--dim);font-size:.9rem}
ol.path li.here{background:var(--accent);border-color:var(--accent);color:var(--paper);font-weight:600}
dl.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.5rem;margin:1rem 0}
dl.numbers div{background:var(--card);border-radius:.5rem;padding:.5rem .75rem}
dt{font-size:.8rem;color:var(--dim)}
dd{margin:0;font-weight:600;overflow-wrap:anywhere}
svg{width:100%;height:auto;display:block}
svg text{fill:var(--dim);font:12px system-ui,sans-serif}
.axis{stroke:var(--line)}
.curve{fill:none;stroke:var(--accent);stroke-width:2}
ol.flow{list-style:none;padding:0;margin:0}
ol.flow li{background:var(--card);border-radius:.5rem;padding:.5rem .75rem;margin:0 0 .4rem}
ol.flow b{display:block}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th{text-align:left;color:var(--dim);font-weight:500;font-size:.8rem}
th,td{padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
.short{white-space:nowrap}td.long{overflow-wrap:anywhere}
.present{color:var(--good)}.missing{color:var(--dim)}.broken{color:var(--bad)}.by-reference{color:var(--half)}
code{font:.85em ui-monospace,monospace}
@media(max-width:40rem){
dl.numbers{grid-template-columns:1fr 1fr}
svg text{font-size:24px}
table,tbody,tr,td{display:block;width:100%}
thead{display:none}
tr{padding:.5rem 0;border-bottom:1px solid var(--line)}
td{border:0;padding:.05rem 0}
td:first-child{font-weight:600}
td:not(:first-child)::before{content:attr(data-head) ": ";color:var(--dim)}
td:empty{display:none}
}
"""


def document(title: str, body: str) -> str:
    """A page of some content, which is HTML already."""
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def page(facts: Facts, report: Report, *, found: str = "") -> str:
    """The page of a release; `found` is what a verifier found, as HTML, and stands before all that the release says."""
    body = f"""\
<h1>{escape(facts.name)}</h1>
{found}
<p class="verdict">{escape(report["verdict"])}</p>
{_path(report)}
<p class="dim">Next step: {escape(report["place"]["next_step"] or "none")}. You cannot: \
{escape("; ".join(report["cannot"]) or "nothing is held back")}.</p>
{_numbers(facts)}
<h2>Loss, step by step</h2>
{curve(facts.losses)}
<p class="dim">From the ledger, in which every line holds the hash of the one before. Nats per token of the training
text, one run, nothing smoothed{f"; {MAX_POINTS} of its steps are drawn" if facts.steps > MAX_POINTS else ""}.</p>
<h2>How the data flowed</h2>
{_flow(facts)}
<h2>Sources</h2>
{table(("source", "licence", "evidence", "language", "documents", "tokens"), _sources(facts))}
<h2>Scores</h2>
{table(("held-out text", "bits per byte", "unigram", "zstd"), _scores(facts))}
<p class="dim">Lower is better. Of this release's own held-out texts, so they compare with nothing else.</p>
<h2>Cost</h2>
{table(("what", "value", "how known", "from"), _costs(facts))}
<p class="dim">Hours, memory and energy, as the clock and the machine told them, are in <code>witness/cost.json</code>,
outside the root.</p>
<h2>What is inside</h2>
{_components(report)}
<h2>Other reckonings</h2>
{table(("measure", "result"), _measures(report))}
<h2>Verify it</h2>
<p>{FOUND if found else MADE_WITH_IT} Ask for the root where you trust the answer, then run
<code>sh verify.sh --root HEX</code>, or with its maker's key <code>--key PUB</code>.</p>
{table(("level", "claims", "strength", "cannot catch"), _ladder())}
{table(("head", "SHA-256"), facts.heads.items())}"""
    return document(facts.name, body)


def curve(values: Sequence[float]) -> str:
    """A curve over the steps as inline SVG; of many steps, as many as fit, the first and the last among them."""
    if len(values) < 2:
        return "<p>There are fewer than two steps.</p>"
    steps = _picked(len(values))
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    points = [
        (
            LEFT + (WIDTH - LEFT - 10) * (step - 1) / (len(values) - 1),
            TOP + (HEIGHT - TOP - BOTTOM) * (high - values[step - 1]) / span,
        )
        for step in steps
    ]
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    floor = HEIGHT - BOTTOM
    said = f"loss from {values[0]:.3f} at step 1 to {values[-1]:.3f} at step {len(values)}"
    return f"""\
<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">
<line class="axis" x1="{LEFT}" y1="{floor}" x2="{WIDTH - 10}" y2="{floor}"/>
<line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{floor}"/>
<polyline class="curve" points="{drawn}"/>
<text x="{LEFT - 6}" y="{TOP + 10}" text-anchor="end">{high:.2f}</text>
<text x="{LEFT - 6}" y="{floor}" text-anchor="end">{low:.2f}</text>
<text x="{LEFT}" y="{HEIGHT - 8}">step 1</text>
<text x="{WIDTH - 10}" y="{HEIGHT - 8}" text-anchor="end">step {len(values)}</text>
</svg>"""


def _picked(count: int) -> list[int]:
    """Steps to draw, at most MAX_POINTS, ascending."""
    if count <= MAX_POINTS:
        return list(range(1, count + 1))
    return sorted({1 + round(index * (count - 1) / (MAX_POINTS - 1)) for index in range(MAX_POINTS)})


def _path(report: Report) -> str:
    here = report["place"]["name"]
    rows = "".join(
        f'<li class="here">{escape(name)}</li>' if name == here else f"<li>{escape(name)}</li>"
        for name in report["place"]["of"]
    )
    return f'<ol class="path">{rows}</ol>'


def _numbers(facts: Facts) -> str:
    shown = [
        ("parameters", f"{facts.parameters:,}"),
        ("steps", f"{facts.steps:,}"),
        ("tokens trained", f"{facts.tokens_trained:,}"),
        ("context", f"{facts.context_tokens} tokens"),
        ("architecture", facts.architecture),
        ("numbers", f"{facts.dtype}, profile {facts.profile}"),
        ("licence", facts.licence),
        ("compute", f"{facts.flops:.2g} FLOP"),
    ]
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in shown)
    return f'<dl class="numbers">{rows}</dl>'


def _flow(facts: Facts) -> str:
    rows = "".join(
        f"<li><b>{escape(stage)}</b>{escape(came_in)} → {escape(went_out)}</li>"
        for stage, came_in, went_out in facts.flow
    )
    return f'<ol class="flow">{rows}</ol>'


def _components(report: Report) -> str:
    rows = [
        (
            row["name"],
            Marked(row["status"]),
            row["licence"] if row["status"] in ("present", "by reference") else "",
            "; ".join(filter(None, (row["proof"], row["note"]))),
        )
        for row in report["components"]
    ]
    return table(("part", "status", "licence", "what proves it"), rows)


class Marked(str):
    """A status, which is shown in its colour."""

    def __new__(cls, text: str, colour: str = "") -> "Marked":
        """`colour` is a class of the style sheet; without it, the text names it."""
        made = super().__new__(cls, text)
        made.colour = colour or text.replace(" ", "-")
        return made

    colour: str


def _sources(facts: Facts) -> list[tuple[str, ...]]:
    return [
        (
            s.name,
            s.licence,
            f"{s.evidence} files" if s.evidence else "none",
            s.language,
            f"{s.documents:,}",
            f"{s.tokens:,}",
        )
        for s in facts.sources
    ]


def _scores(facts: Facts) -> list[tuple[str, ...]]:
    names = ("bits_per_byte", "unigram_bits_per_byte", "zstd_bits_per_byte")
    return [
        (source, *(f"{said[name]:.3f}" if name in said else "" for name in names))
        for source, said in sorted(facts.scores.items())
    ]


def _costs(facts: Facts) -> list[tuple[str, ...]]:
    return [(row["name"], say_cost(row), row["how"], row["from"]) for row in facts.cost["values"]]


def say_cost(row: Mapping[str, Any]) -> str:
    """A value of cost.json with its unit."""
    said = row["value"]
    number = f"{said:,}" if isinstance(said, int) else f"{said:.4g}" if isinstance(said, float) else str(said)
    return f"{number} {row['unit']}".strip()


def _measures(report: Report) -> list[tuple[str, str]]:
    percent = ", ".join(f"class {'I' * int(level)} {value:.0f} %" for level, value in report["mof"]["percent"].items())
    classes: dict[str, int] = {}
    for value in report["osai_index"].values():
        classes[value] = classes.get(value, 0) + 1
    return [
        ("Model Openness Framework", f"{report['mof']['label']} ({percent})"),
        ("OSAID 1.0", "; ".join([report["osaid"]["verdict"], *report["osaid"]["gaps"]])),
        ("European OSAI index", ", ".join(f"{count} {name}" for name, count in sorted(classes.items()))),
        ("FMTI", f"{report['fmti']['answered']} of {report['fmti']['of']} that a release can answer"),
        ("EU training summary", f"{report['eu_training_summary']['filled']} fields filled"),
        ("EU Annex XI", f"{report['eu_annex_xi']['filled']} fields filled"),
        ("restricted in use (D, A, M, S)", report["restricted_in_use"]),
        ("conflicts with inherited conditions", "; ".join(report["conflicts"]) or "none found"),
    ]


def _ladder() -> list[tuple[str, ...]]:
    return [(f"{name} {rung.name}", rung.claim, rung.strength, rung.cannot_catch) for name, rung in LEVELS.items()]


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table; on a phone each row becomes a block."""
    lines = "".join(
        f"<tr>{''.join(_cell(name, value) for name, value in zip(head, row, strict=True))}</tr>" for row in rows
    )
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"


def _cell(name: str, value: Any) -> str:
    text = str(value)
    marks = [value.colour] if isinstance(value, Marked) else []
    # A digest has nowhere to break, and would push the page wider than a phone.
    marks += ["long"] if max(map(len, text.split()), default=0) > LONGEST_WORD else []
    marks += ["short"] if len(text) <= LONGEST_WORD // 2 else []
    mark = f' class="{" ".join(marks)}"' if marks else ""
    return f'<td data-head="{escape(name)}"{mark}>{escape(text)}</td>'
