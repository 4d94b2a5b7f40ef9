"""Verb attest: verifies a bundle and signs what came out, as a party of its own; level V6 of the ladder.

usage: python -m release attest BUNDLE --level LEVEL --key KEY --by NAME [--maker-key PUB] [--nonce TEXT] [--segments N]

What is signed is what this command itself has just found, whether PASS or FAIL. It is added to the bundle's
attestations, outside the root.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from core.arguments import Parser
from core.codetree import ROOT
from release.code import read_checkout
from release.contents import open_bundle
from release.gitpack import tree_id
from release.ladder import DEFAULT_LEVEL
from release.signing.attestations import write_verification
from release.signing.keys import read_private
from release.signing.statements import verification_statement
from release.verdict import conclude
from release.verify import VERIFIABLE, verify


def main(arguments: list[str]) -> None:
    """Run the verb: one line a check, then where the attestation lies. Ends on the verdicts, as verify does."""
    parser = Parser(
        "python -m release attest BUNDLE --key KEY --by NAME [--level LEVEL] [--maker-key PUB] [--nonce TEXT] "
        "[--segments N]"
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--by", required=True)
    parser.add_argument("--level", choices=VERIFIABLE, default=DEFAULT_LEVEL)
    parser.add_argument("--maker-key", type=Path)
    parser.add_argument("--nonce", default="")
    parser.add_argument("--segments", type=int, default=1)
    given = parser.parse_args(arguments)
    bundle, key = open_bundle(given.bundle), read_private(given.key)
    bundle.key, bundle.nonce, bundle.segments = given.maker_key, given.nonce, given.segments
    findings = []
    for finding in verify(bundle, level=given.level):
        sys.stdout.write(f"{finding}\n")
        findings.append(finding)
    verifier = {"name": given.by, "code_tree": tree_id(read_checkout(ROOT))}
    made = datetime.now(UTC).isoformat(timespec="seconds")
    payload = verification_statement(bundle, findings, level=given.level, verifier=verifier, made=made)
    sys.stdout.write(f"{write_verification(bundle, payload, key, level=given.level)}\n")
    conclude(findings, subject=str(given.bundle))
