"""The page of `verify --report`: what this verifier found, what others signed, and all that the release says of itself.

Made by the code that verifies, from the bundle as it is here; report/index.html inside a bundle was made by its maker
and can vouch for nothing. One file, no network, no script. Of a bundle that cannot be graded the findings are shown.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from core.artifact import ATTESTATIONS
from core.errors import ConfigError, DataError
from release.contents import Bundle
from release.cost import COST
from release.ladder import LEVELS
from release.manifest import NAME
from release.openness.page import Marked, document, page, say_cost, table
from release.openness.report import compose
from release.openness.verb import facts_of, was_replayed
from release.signing.attestations import SUFFIX
from release.signing.dsse import read_envelope
from release.signing.keys import SHORT_ID_DIGITS, key_id, read_public
from release.verdict import Finding, Verdict

# The page's colours of a verdict: those of a part's status.
COLOURS = {Verdict.PASS: "present", Verdict.FAIL: "broken"}
UNREADABLE = (DataError, ConfigError, OSError, KeyError, TypeError, ValueError, AttributeError, IndexError)


def check_report(path: Path, bundle: Bundle) -> None:
    """Raise ConfigError if a page cannot be written to a path: it would change the bundle, or is no file's name."""
    if path.resolve().is_relative_to(bundle.folder):
        raise ConfigError(f"--report {path} lies in the bundle, which must stay as it is; name a file beside it")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"--report {path} cannot be written; name a file in a folder that is there")


def verified_page(bundle: Bundle, findings: Sequence[Finding], *, level: str, made: str, confined: str) -> str:
    """The page. `made` says when it was verified, `confined` what kept the bundle's code from doing harm."""
    found = _found(bundle, findings, level=level, made=made, confined=confined)
    try:
        facts = facts_of(bundle)
        return page(facts, compose(facts, is_replayed=was_replayed(bundle, bundle.verifiers)), found=found)
    except UNREADABLE as error:
        said = f"<p>The rest cannot be shown: {escape(f'{type(error).__name__}: {error}')}</p>"
        return document(bundle.folder.name, f"<h1>{escape(bundle.folder.name)}</h1>{found}{said}")


def _found(bundle: Bundle, findings: Sequence[Finding], *, level: str, made: str, confined: str) -> str:
    verdicts = [finding.verdict for finding in findings]
    passed = sum(verdict is Verdict.PASS for verdict in verdicts)
    failed = [finding.check for finding in findings if finding.verdict is Verdict.FAIL]
    said = f"FAIL in {', '.join(failed)}: do not rely on it" if failed else f"{passed} of {len(verdicts)} checks PASS"
    rows = [
        (finding.check, Marked(finding.verdict.value, COLOURS.get(finding.verdict, "by-reference")), _detail(finding))
        for finding in findings
    ]
    root = bundle.root if (bundle.folder / NAME).is_file() else "unknown"
    return f"""\
<h2>Verified</h2>
<p class="verdict">{escape(level)} {escape(LEVELS[level].name)}: {escape(said)}.</p>
<p class="dim">On {escape(made)}, of the bundle with root <code>{escape(root)}</code>, by the checkout that wrote this
page. If all pass, {escape(LEVELS[level].claim)}; strength: {escape(LEVELS[level].strength)}; cannot catch:
{escape(LEVELS[level].cannot_catch)}. The {escape(confined)}.</p>
{table(("check", "verdict", "seen"), rows)}
<h2>What others signed</h2>
{_attested(bundle)}
<h2>What the witness tells of cost</h2>
{_witnessed(bundle)}"""


def _detail(finding: Finding) -> str:
    aside = f" ({finding.aside})" if finding.aside else ""
    return f"{finding.detail}{aside}" + (f"; cannot catch: {finding.cannot_catch}" if finding.cannot_catch else "")


def _attested(bundle: Bundle) -> str:
    """The verdicts of others that lie in the bundle; they count if their key was given."""
    trusted = [read_public(path) for path in bundle.verifiers]
    rows = []
    for path in sorted((bundle.folder / ATTESTATIONS / "verification").glob(f"*{SUFFIX}")):
        try:
            envelope = read_envelope(path)
            said = envelope.predicate
            by = next((key for key in trusted if envelope.is_signed_by(key)), None)
            is_good = by is not None and envelope.names(bundle.root)
            key = key_id(by)[:SHORT_ID_DIGITS] if by and is_good else "not given, so it counts for nothing"
            result = Marked(str(said["result"]), _colour(str(said["result"])) if is_good else "missing")
            rows.append((str(said["verifier"]["name"]), str(said["level"]), result, str(said["made"])[:10], key))
        except UNREADABLE as error:
            rows.append((path.name, "", Marked("unreadable", "broken"), "", str(error)))
    if not rows:
        return '<p class="dim">Nobody else\'s verdict lies in the bundle.</p>'
    return table(("says to be", "level", "result", "on", "key"), rows)


def _colour(result: str) -> str:
    return {"PASSED": "present", "FAILED": "broken"}.get(result, "by-reference")


def _witnessed(bundle: Bundle) -> str:
    try:
        rows: list[Mapping[str, Any]] = json.loads((bundle.witness / COST).read_bytes())["values"]
        told = [(str(row["name"]), say_cost(row), str(row["how"]), str(row["from"])) for row in rows]
    except UNREADABLE:
        told = []
    if not told:
        return '<p class="dim">Nothing.</p>'
    return table(("what", "value", "how known", "from"), told) + (
        '<p class="dim">The witness is no part of the root: whoever passed the bundle on could change it.</p>'
    )
