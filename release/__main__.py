"""Verbs of release/: make a bundle, judge it, redo it, compare two runs."""

from core.cli import Verb, main

VERBS = {
    "build": Verb("release.bundle:main", "close a run's artifacts into one bundle"),
    "judge": Verb("release.judge:main", "verify the bundle of a recipe, once, as a stage"),
    "verify": Verb(
        "release.verify:main", "check a bundle: BUNDLE [--level V0..V4] [--root HEX] [--key PUB] [--nonce TEXT]"
    ),
    "keygen": Verb("release.signing.keys:main", "make a key pair to sign with: KEY"),
    "sign": Verb("release.signing.sign:main", "sign a bundle's root and provenance: BUNDLE --key KEY"),
    "attest": Verb("release.signing.attest:main", "verify a bundle and sign the verdicts: BUNDLE --key KEY --by NAME"),
    "openness": Verb("release.openness.verb:main", "how open a release is, computed: BUNDLE|FOLDER [--json]"),
    "reproduce": Verb(
        "release.reproduce:main", "redo a bundle and compare: BUNDLE [--runs DIR] [--files DIR] [--ranks N]"
    ),
    "tolerance": Verb(
        "release.tolerance:main", "a weaker verdict where the numerics profile differs: BUNDLE [--segments N]"
    ),
    "compare-seeds": Verb(
        "release.seeds:main", "a statistical verdict over runs of other seeds: BUNDLE --theirs RUN... --ours RUN..."
    ),
    "pack": Verb("release.archive:pack_main", "write a bundle as one plain tar: BUNDLE ARCHIVE.tar"),
    "unpack": Verb("release.archive:unpack_main", "unpack a tar and check every byte: ARCHIVE.tar FOLDER"),
    "thin": Verb(
        "release.thin:thin_main", "the same release with big parts by digest only: BUNDLE OUT [--mirror ADDRESS]"
    ),
    "fill": Verb(
        "release.thin:fill_main", "the full bundle of a thin one, every byte verified: THIN OUT [--mirror SOURCE]"
    ),
    "publish": Verb("release.publish.push:main", "bring a bundle to a place and read it back: BUNDLE --to DESTINATION"),
    "fetch": Verb("release.publish.fetch:main", "get a release, every byte verified: SOURCE --to FOLDER [--root HEX]"),
    "check-links": Verb("release.publish.links:main", "say what of a release is gone or differs: ADDRESS|FOLDER"),
    "diff": Verb("release.diff:main", "name the first difference of two runs, bundles or ledgers: A B"),
    "golden": Verb("release.golden:main", "print a run's golden hashes, or check them: RUNS [--check FILE]"),
    "pages": Verb("release.pages:main", "check the generated parts of README.md and MANIFEST.md, or --write them"),
    "check": Verb("release.check:main", "check the sections of a recipe that release/ reads"),
}

if __name__ == "__main__":
    main("release", VERBS)
