"""Verb verify: checks a bundle and gives a verdict a check.

Each check belongs to a level of the ladder (ladder.py). The checks data, rates, corpus and audit run code: the
checkout's where its tree equals the bundle's, else the bundle's own, cloned to a temporary folder. A bundle from an
untrusted hand should be verified where its code can do no harm.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.arguments import Parser
from core.durable import write_durably
from core.errors import ConfigError, DataError
from release import checks
from release.alive import alive
from release.audit import audit, ranks_that_trained
from release.contents import MERGE, QUANTIZE, Bundle, open_bundle
from release.derived import derived
from release.form import form
from release.forward import forward, losses, scores
from release.ladder import DEFAULT_LEVEL, LEVELS, includes, say_stages
from release.openness.render import is_fresh
from release.openness.verified import check_report, verified_page
from release.rates import rates
from release.sandbox import describe
from release.signing.attestations import is_there, signature
from release.thin import fill, missing_for
from release.verdict import ByReferenceError, Finding, InconclusiveError, UnsupportedError, Verdict, conclude
from release.witness import told_of_run, witness


@dataclass(frozen=True, slots=True)
class Check:
    """A check, what it is called, its level of the ladder, and what it can never catch."""

    name: str
    level: str
    run: Callable[[Bundle], str]
    cannot_catch: str


INTEGRITY = Check("integrity", "V1", checks.integrity, "a bundle that was false when it was made")
CODE = Check("code", "V2", checks.code, "code that says it ran and did not")
CHECKS = (
    INTEGRITY,
    Check("signature", "V1", signature, "a dishonest signer; whose key it is; when it was signed"),
    Check("form", "V0", form, "false content"),
    Check("report", "V0", is_fresh, "false statements of sources, and of the author"),
    Check("alive", "V2", alive, "what happens when the weights are run"),
    CODE,
    Check("forward", "V2", forward, "scores that were invented; a model that says nothing of use"),
    Check("scores", "V2", scores, "windows and samples that were not drawn; training on the test texts"),
    Check("chain", "V3", checks.chain, "artifacts that were invented together"),
    Check("ledger", "V3", checks.ledger, "numbers that were invented and chained anew"),
    Check("data", "V3", checks.data, "shards that were not made from the sources; text that was not trained on"),
    Check("rates", "V3", rates, "a schedule that was stated and not followed, with a ledger that says it was"),
    Check(
        "corpus",
        "V3",
        checks.corpus,
        "sources that are not what their papers say; documents that should not be in them",
    ),
    Check("checkpoints", "V3", checks.checkpoints, "states that training does not lead to"),
    Check("losses", "V3", losses, "optimizer states that training does not lead to; steps between the checkpoints"),
    Check("derived", "V3", derived, "how the models that were merged came about; that others were tried and hidden"),
    Check("weights", "V3", checks.weights, "how the last checkpoint came about"),
    Check("lineage", "V3", checks.lineage, "parents that were not named; whether a parent's own bundle would pass"),
    Check("witness", "V3", witness, "journals that were written to fit; nobody vouches for the witness"),
    Check("audit", "V4", audit, "cheating in segments that were not replayed; other runs that were hidden"),
)
# Checks of a training, and of what was made of weights without one: a bundle has them if it has such a stage.
OF_TRAINING = (checks.ledger, checks.data, rates, checks.checkpoints, losses, witness, audit)
# What a check says besides of placement and the clock, which is no part of its verdict.
ASIDES = {audit: ranks_that_trained, witness: told_of_run}
# What reading a bundle that may hold anything can raise.
MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError)
# The levels that verify reaches; the others have verbs of their own.
VERIFIABLE = tuple(sorted({check.level for check in CHECKS}))
# The level from which on checks run the bundle's code.
RUNS_CODE = "V2"
NO_CODE = "sandbox: no code of the bundle ran at this level"
ELSEWHERE = {"V5": "python -m release reproduce", "V6": "python -m release attest"}


def main(arguments: list[str]) -> None:
    """Run the verb: one line a check. Raises DataError if one is FAIL, InconclusiveError if one cannot be judged."""
    parser = Parser(
        "python -m release verify BUNDLE [--level LEVEL] [--root HEX] [--key PUB] [--verifier PUB] [--nonce TEXT] "
        "[--segments N] [--ranks N] [--all] [--parent FOLDER] [--mirror SOURCE] [--report OUT.html]"
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--level", choices=LEVELS, default=DEFAULT_LEVEL)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--verifier", type=Path, action="append", default=[])
    parser.add_argument("--root", default="")
    parser.add_argument("--nonce", default="")
    parser.add_argument("--segments", type=int, default=1)
    parser.add_argument("--parent", type=Path, default=Path())
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--mirror", action="append", default=[])
    parser.add_argument("--report", type=Path)
    given = parser.parse_args(arguments)
    for name, count in {"segments": given.segments, "ranks": given.ranks}.items():
        if count < 1:
            raise ConfigError(f"--{name} is {count}; give at least 1")
    if given.level in ELSEWHERE:
        raise ConfigError(f"{given.level} is a verb of its own: {ELSEWHERE[given.level]} BUNDLE")
    with tempfile.TemporaryDirectory(prefix="wholegrain-filled-") as scratch:
        bundle = open_bundle(given.bundle)
        if given.report:
            check_report(given.report, bundle)
        if given.mirror:
            whole = Path(scratch) / bundle.folder.name
            fill(bundle, whole, mirrors=given.mirror)
            bundle = open_bundle(whole)
        findings, confined = _say_all(bundle, given), describe() if includes(given.level, RUNS_CODE) else NO_CODE
        if given.report:
            made = datetime.now(UTC).isoformat(timespec="seconds")
            content = verified_page(bundle, findings, level=given.level, made=made, confined=confined)
            write_durably(given.report, content.encode())
    sys.stdout.write(f"{reached(given.level)}{_of_its_stages(bundle)}{confined}\n")
    conclude(findings, subject=str(given.bundle))


def _of_its_stages(bundle: Bundle) -> str:
    try:
        return say_stages(bundle.stages)
    except (DataError, *MALFORMED):
        return ""


def _say_all(bundle: Bundle, given: argparse.Namespace) -> list[Finding]:
    """Run the checks that were asked for, and say each finding as soon as it is there."""
    bundle.expected_root, bundle.nonce, bundle.segments = given.root, given.nonce, given.segments
    bundle.parent = given.parent.resolve() if given.parent != Path() else Path()
    bundle.key, bundle.verifiers = given.key, given.verifier
    bundle.ranks, bundle.is_everything = given.ranks, given.all
    findings = []
    for finding in verify(bundle, level=given.level):
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()
        findings.append(finding)
    return findings


def verify(bundle: Bundle, *, level: str = DEFAULT_LEVEL) -> Iterator[Finding]:
    """The findings of all checks up to a level, in order, each as soon as it is there.

    Signatures are looked at if there are any, or if a key was given.
    """
    with tempfile.TemporaryDirectory(prefix="wholegrain-verify-") as scratch:
        bundle.scratch = Path(scratch)
        for check in CHECKS:
            if includes(level, check.level) and is_due(check, bundle):
                yield judge(check, bundle)


def is_due(check: Check, bundle: Bundle) -> bool:
    """Whether a bundle has what a check looks at. Of one whose stages cannot be read every check is due, and fails."""
    if check.run is signature:
        return bool(bundle.key or is_there(bundle))
    try:
        if check.run is derived:
            return bool({MERGE, QUANTIZE} & set(bundle.stages))
        return bundle.is_trained or check.run not in OF_TRAINING
    except (DataError, *MALFORMED):
        return True


def reached(level: str) -> str:
    """What the levels up to this one claim if all their checks pass, how strongly, and what they cannot catch."""
    rows = [(name, LEVELS[name]) for name in VERIFIABLE if includes(level, name)]
    return "".join(
        f"{name} {rung.name}: if all pass, {rung.claim}; strength: {rung.strength}; cannot catch: {rung.cannot_catch}\n"
        for name, rung in rows
    )


def judge(check: Check, bundle: Bundle) -> Finding:
    """Run one check. A bundle may hold anything, so what cannot be read is a FAIL too, never a traceback."""
    aside = ""
    try:
        lacking = missing_for(bundle, check.name)
        if lacking:
            raise ByReferenceError(lacking)
        verdict, detail = Verdict.PASS, check.run(bundle)
        if check.run in ASIDES:
            aside = ASIDES[check.run](bundle)
    except ByReferenceError as error:
        verdict, detail = Verdict.REFERENCE, str(error)
    except UnsupportedError as error:
        verdict, detail = Verdict.UNSUPPORTED, str(error)
    except InconclusiveError as error:
        verdict, detail = Verdict.INCONCLUSIVE, str(error)
    except (DataError, OSError) as error:
        verdict, detail = Verdict.FAIL, str(error)
    except MALFORMED as error:
        verdict, detail = Verdict.FAIL, f"the bundle is malformed: {type(error).__name__} {error}"
    detail = detail.replace(f"{bundle.folder}/", "")
    return Finding(check=check.name, verdict=verdict, detail=detail, aside=aside, cannot_catch=check.cannot_catch)
