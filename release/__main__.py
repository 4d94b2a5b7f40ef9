"""Verbs of release/: make a bundle, judge it, redo it, compare two runs."""

from core.cli import EXIT_CODES, Verb, main

BUNDLE = "a bundle's folder"
NONCE = "mixed into every draw: one of yours could not be known to the maker; default empty"
SEGMENTS = "how many segments are replayed; default 1"
PARENT = "the checkpoint, or the bundle, of the run that this one went on from; default: none"
MIRROR = "where to look for what a thin bundle lacks; may be given again"
# As release/verdict.py has them.
VERDICTS = f"{EXIT_CODES}; 69 not FAIL, but not all could be judged"
WEAKER = f"{EXIT_CODES}; 3 WITHIN or EQUIVALENT, 4 OUTSIDE or NOT EQUIVALENT (0 is for bitwise verdicts only)"

VERBS = {
    "build": Verb("release.bundle:main", "close a run's artifacts into one bundle"),
    "judge": Verb("release.judge:main", "verify the bundle of a recipe, once, as a stage"),
    "verify": Verb(
        "release.verify:main",
        "check a bundle, a verdict a check",
        form="BUNDLE",
        options={
            "BUNDLE": BUNDLE,
            "--level LEVEL": "V0 to V4; default V4",
            "--root HEX": "the root that you expect; default: whatever the bundle has",
            "--key PUB": "the maker's public key; default: none is trusted",
            "--verifier PUB": "the key of a party that you trust; may be given again",
            "--nonce TEXT": NONCE,
            "--segments N": SEGMENTS,
            "--ranks N": "ranks that replay; default 1",
            "--all": "every batch and sample, in place of a drawn part",
            "--parent FOLDER": PARENT,
            "--mirror SOURCE": MIRROR,
            "--report OUT.html": "a page of the verdicts; default: none",
        },
        exits=VERDICTS,
    ),
    "keygen": Verb(
        "release.signing.keys:main",
        "make a key pair to sign with",
        form="KEY",
        options={
            "KEY": "the private key's file; the public one lies beside it",
        },
    ),
    "sign": Verb(
        "release.signing.sign:main",
        "sign a bundle's root and provenance",
        form="BUNDLE --key KEY",
        options={
            "BUNDLE": BUNDLE,
            "--key KEY": "the private key",
            "--openssf EC_KEY": "a P-256 key, for a signature in OpenSSF's format too; default: none",
        },
    ),
    "attest": Verb(
        "release.signing.attest:main",
        "verify a bundle and sign the verdicts",
        form="BUNDLE --key KEY --by NAME",
        options={
            "BUNDLE": BUNDLE,
            "--key KEY": "your private key",
            "--by NAME": "who you are",
            "--level LEVEL": "V0 to V4; default V4",
            "--maker-key PUB": "the maker's public key; default: none is trusted",
            "--nonce TEXT": NONCE,
            "--segments N": SEGMENTS,
        },
        exits=VERDICTS,
    ),
    "openness": Verb(
        "release.openness.verb:main",
        "how open a release is, computed",
        form="BUNDLE|FOLDER",
        options={
            "BUNDLE": BUNDLE,
            "FOLDER": "weights as others publish them",
            "--json": "as JSON; default Markdown",
            "--verifier PUB": "the key of a party that you trust; may be given again",
            "--mirror SOURCE": MIRROR,
        },
    ),
    "reproduce": Verb(
        "release.reproduce:main",
        "redo a bundle from its sources and compare",
        form="BUNDLE",
        options={
            "BUNDLE": BUNDLE,
            "--runs DIR": "where to work; default BUNDLE-reproduced",
            "--files DIR": "where sources that are files lie; default files",
            "--ranks N": "ranks that train at most; default 2",
            "--parent DIR": PARENT,
        },
        exits=VERDICTS,
    ),
    "tolerance": Verb(
        "release.tolerance:main",
        "a weaker verdict where the numerics profile differs",
        form="BUNDLE",
        options={
            "BUNDLE": BUNDLE,
            "--root HEX": "the root that you expect; default: whatever the bundle has",
            "--nonce TEXT": NONCE,
            "--segments N": SEGMENTS,
        },
        exits=WEAKER,
    ),
    "compare-seeds": Verb(
        "release.seeds:main",
        "a statistical verdict over runs of other seeds",
        form="BUNDLE --theirs RUN ... --ours RUN ...",
        options={
            "BUNDLE": BUNDLE,
            "--theirs RUN": "the maker's runs, besides the bundle's own",
            "--ours RUN": "yours: bundles, run folders or training artifacts",
        },
        exits=WEAKER,
    ),
    "pack": Verb(
        "release.archive:pack_main",
        "write a bundle as one plain tar",
        form="BUNDLE ARCHIVE",
        options={
            "BUNDLE": BUNDLE,
            "ARCHIVE": "the tar to write",
        },
    ),
    "unpack": Verb(
        "release.archive:unpack_main",
        "unpack a tar and check every byte",
        form="ARCHIVE FOLDER",
        options={
            "ARCHIVE": "the tar",
            "FOLDER": "the bundle's folder to write",
        },
    ),
    "thin": Verb(
        "release.thin:thin_main",
        "the same release with big parts by digest only",
        form="BUNDLE OUT",
        options={
            "BUNDLE": BUNDLE,
            "OUT": "the folder to write",
            "--mirror ADDRESS": "where the parts may be had; may be given again",
        },
    ),
    "fill": Verb(
        "release.thin:fill_main",
        "the full bundle of a thin one, every byte verified",
        form="THIN OUT",
        options={
            "THIN": "the thin bundle's folder",
            "OUT": "the folder to write",
            "--mirror SOURCE": "where else to look for the parts; may be given again",
        },
    ),
    "publish": Verb(
        "release.publish.push:main",
        "bring a bundle to a place and read it back",
        form="BUNDLE --to DESTINATION",
        options={
            "BUNDLE": BUNDLE,
            "--to DESTINATION": "a folder, s3://..., hf://OWNER/NAME, oci://HOST/NAME:TAG or FILE.torrent",
            "--mirrors FILE": "collects the addresses of all copies; default: none",
            "--tracker URL": "for a torrent; may be given again",
        },
    ),
    "fetch": Verb(
        "release.publish.fetch:main",
        "get a release, every byte verified",
        form="SOURCE --to FOLDER",
        options={
            "SOURCE": "an address, a .torrent with web seeds, or a mirrors.json",
            "--to FOLDER": "the folder to write",
            "--root HEX": "the root that you expect; default: whatever comes",
        },
    ),
    "check-links": Verb(
        "release.publish.links:main",
        "say what of a release is gone or differs",
        form="ADDRESS|FOLDER",
        options={
            "ADDRESS": "where a release lies",
            "FOLDER": "one on disk, with every copy that its mirrors.json tells of",
        },
    ),
    "diff": Verb(
        "release.diff:main",
        "name the first difference of two runs, bundles or ledgers",
        form="A B",
        options={
            "A": "a run's folder, a training artifact, a bundle, or a ledger",
            "B": "another",
        },
        exits="exit codes: 0 the trajectories are equal, 1 they differ, 64 your input, 66 bad or missing data",
    ),
    "golden": Verb(
        "release.golden:main",
        "print a run's golden hashes, or check them",
        form="RUNS",
        options={
            "RUNS": "the run's folder",
            "--check FILE": "hold them against a golden file; default: print them only",
        },
    ),
    "pages": Verb(
        "release.pages:main",
        "check the generated parts of README.md and MANIFEST.md",
        form="",
        options={
            "--write": "write them instead",
        },
    ),
    "check": Verb("release.check:main", "check the sections of a recipe that release/ reads"),
}

if __name__ == "__main__":
    main("release", VERBS)
