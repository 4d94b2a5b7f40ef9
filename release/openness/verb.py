"""Verb openness: how open a release is, computed from what it holds.

usage: python -m release openness BUNDLE|FOLDER [--json] [--verifier PUB] [--mirror SOURCE]

Takes a bundle, or a folder of weights as others publish them. `--verifier` names the key of a party that you trust: its
signed word that a replay passed (V4 or above) can lift a release to the open full pipeline.
"""

import json
import sys
from pathlib import Path

from core.arguments import Parser
from core.artifact import ATTESTATIONS
from core.errors import ConfigError
from release.contents import Bundle, open_bundle
from release.ladder import includes
from release.openness.evidence import in_bundle
from release.openness.facts import WORDS_PATH, Facts, bundle_facts
from release.openness.folder import folder_facts
from release.openness.report import compose, to_markdown
from release.openness.words import Words, read_words
from release.publish.mirror import look_for_absent
from release.signing.attestations import SUFFIX
from release.signing.dsse import read_envelope
from release.signing.keys import read_public

REPLAYED_FROM = "V4"


def main(arguments: list[str]) -> None:
    """Run the verb: write the report to standard output."""
    parser = Parser("python -m release openness BUNDLE|FOLDER [--json] [--verifier PUB] [--mirror SOURCE]")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verifier", type=Path, action="append", default=[])
    parser.add_argument("--mirror", action="append", default=[])
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        raise ConfigError(f"{given.folder} is no folder; name a bundle or a folder of weights")
    bundle = as_bundle(given.folder)
    if bundle and given.mirror:
        look_for_absent(bundle, given.mirror)
    facts = facts_of(bundle) if bundle else folder_facts(given.folder)
    is_replayed = bundle is not None and was_replayed(bundle, given.verifier)
    report = compose(facts, is_replayed=is_replayed)
    sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n" if given.json else to_markdown(report))


def as_bundle(folder: Path) -> Bundle | None:
    """The bundle of a folder, if it is one."""
    return open_bundle(folder) if (folder / "bundle.json").is_file() else None


def facts_of(bundle: Bundle) -> Facts:
    """What is known of a bundle, with its author's words."""
    words = words_of(bundle)
    return bundle_facts(bundle, in_bundle(bundle, words), words)


def words_of(bundle: Bundle) -> Words:
    """The author's words in a bundle, if there are any."""
    path = bundle.folder / WORDS_PATH
    return read_words(path) if path.is_file() else Words()


def was_replayed(bundle: Bundle, verifiers: list[Path]) -> bool:
    """Whether one of the verifiers signed that this root passed a replay."""
    keys = [read_public(path) for path in verifiers]
    folder = bundle.folder / ATTESTATIONS / "verification"
    envelopes = [read_envelope(path) for path in sorted(folder.glob(f"*{SUFFIX}"))] if keys else []
    return any(
        envelope.names(bundle.root)
        and envelope.predicate["result"] == "PASSED"
        and includes(str(envelope.predicate["level"]), REPLAYED_FROM)
        for envelope in envelopes
        if any(envelope.is_signed_by(key) for key in keys)
    )
