"""Verb verify: checks a bundle and gives a verdict a check.

The ladder is that of docs/release.md: whole, coherent, and in part done again. The last two checks run code: the
checkout's where its tree equals the bundle's, else the bundle's own, cloned to a temporary folder. A bundle from an
untrusted hand should be verified where its code can do no harm.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigError, DataError
from release import checks
from release.arguments import Parser
from release.audit import audit, ranks_that_trained
from release.contents import Bundle, open_bundle
from release.verdict import Finding, InconclusiveError, UnsupportedError, Verdict, conclude


@dataclass(frozen=True, slots=True)
class Check:
    """A check, what it is called, and what it can never catch."""

    name: str
    run: Callable[[Bundle], str]
    cannot_catch: str


CHECKS = (
    Check("integrity", checks.integrity, "a bundle that was false when it was made"),
    Check("code", checks.code, "code that says it ran and did not"),
    Check("chain", checks.chain, "artifacts that were invented together"),
    Check("ledger", checks.ledger, "numbers that were invented and chained anew"),
    Check("data", checks.data, "shards that were not made from the sources; text that was not trained on"),
    Check("corpus", checks.corpus, "sources that are not what their papers say; documents that should not be in them"),
    Check("checkpoints", checks.checkpoints, "states that training does not lead to"),
    Check("weights", checks.weights, "how the last checkpoint came about"),
    Check("lineage", checks.lineage, "parents that were not named; whether a parent's own bundle would pass"),
    Check("audit", audit, "cheating in segments that were not replayed; other runs that were hidden"),
)


def main(arguments: list[str]) -> None:
    """Run the verb: one line a check. Raises DataError if one is FAIL, InconclusiveError if one cannot be judged."""
    parser = Parser("python -m release verify BUNDLE [--root HEX] [--nonce TEXT] [--segments N] [--parent FOLDER]")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--root", default="")
    parser.add_argument("--nonce", default="")
    parser.add_argument("--segments", type=int, default=1)
    parser.add_argument("--parent", type=Path, default=Path())
    given = parser.parse_args(arguments)
    if given.segments < 1:
        raise ConfigError(f"--segments is {given.segments}; give at least 1")
    bundle = open_bundle(given.bundle)
    bundle.expected_root, bundle.nonce, bundle.segments = given.root, given.nonce, given.segments
    bundle.parent = given.parent.resolve() if given.parent != Path() else Path()
    findings = []
    for finding in verify(bundle):
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()
        findings.append(finding)
    conclude(findings, subject=str(given.bundle))


def verify(bundle: Bundle) -> Iterator[Finding]:
    """The findings of all checks, in order, each as soon as it is there."""
    with tempfile.TemporaryDirectory(prefix="wholegrain-verify-") as scratch:
        bundle.scratch = Path(scratch)
        for check in CHECKS:
            yield judge(check, bundle)


def judge(check: Check, bundle: Bundle) -> Finding:
    """Run one check. A bundle may hold anything, so what cannot be read is a FAIL too, never a traceback."""
    aside = ""
    try:
        verdict, detail = Verdict.PASS, check.run(bundle)
        aside = ranks_that_trained(bundle) if check.run is audit else ""
    except UnsupportedError as error:
        verdict, detail = Verdict.UNSUPPORTED, str(error)
    except InconclusiveError as error:
        verdict, detail = Verdict.INCONCLUSIVE, str(error)
    except (DataError, OSError) as error:
        verdict, detail = Verdict.FAIL, str(error)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        verdict, detail = Verdict.FAIL, f"the bundle is malformed: {type(error).__name__} {error}"
    detail = detail.replace(f"{bundle.folder}/", "")
    return Finding(check=check.name, verdict=verdict, detail=detail, aside=aside, cannot_catch=check.cannot_catch)
