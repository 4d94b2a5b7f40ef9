"""Verbs of data/: fetch, clean, tokenizer, pack, and what reads their results."""

from core.cli import Verb, main

VERBS = {
    "fetch": Verb("data.sources.fetch:main", "download the sources by pinned version and hash"),
    "clean": Verb("data.clean:main", "normalize, filter, deduplicate, split off the held-out documents"),
    "tokenizer": Verb("data.tokenizer:main", "train the SentencePiece tokenizer on the training split"),
    "pack": Verb("data.pack:main", "write token shards and fix the data order"),
    "pin": Verb("data.sources.pin:main", "print the hashes that the sources of a recipe should have"),
    "plan": Verb(
        "data.plan:main",
        "say what a run will take of every source, and refuse what cannot be",
        options={
            "--json": "as JSON; default a table",
        },
    ),
    "manifest": Verb("data.corpus.manifest:main", "write down everything that is to be known of a corpus"),
    "verify": Verb(
        "data.corpus.verify:main",
        "check a corpus against its manifest, whole or by a sample",
        form="DIR",
        options={
            "DIR": "a run's folder, a bundle or its data/, or a folder with manifest.json and shards",
            "--sample N": "read N random leaves of 1 MiB of the shards; default: every byte",
            "--seed N": "draws the leaves; default: a random one, which is printed",
            "--root HEX": "the corpus that you expect; default: whatever the manifest says",
        },
    ),
    "rebuild": Verb(
        "data.corpus.rebuild:main",
        "make a corpus again from its sources, and compare the roots",
        form="MANIFEST [key=value ...]",
        options={
            "MANIFEST": "a corpus's manifest.json",
            "--out DIR": "where to work; default runs/rebuilt-ROOT in the checkout",
            "--files DIR": "where sources that no server has are found, by hash; default: nowhere",
        },
    ),
    "redact": Verb(
        "data.corpus.redact:main",
        "zero the tokens of documents in a copy of a pack, leaving tombstones",
        form="PACK",
        options={
            "PACK": "a folder with order.json and shards",
            "--document KEY": "the document that goes; or give --documents",
            "--reason TEXT": "why; with --document",
            "--date YYYY-MM-DD": "since when; with --document",
            "--documents FILE": "JSON lines of key, reason and date, in place of the three",
        },
    ),
    "digests": Verb(
        "data.digests:main",
        "print the digest of the token ids of every step",
        form="[RECIPE] --pack DIR --steps N",
        options={
            "--pack DIR": "the folder with order.json and shards",
            "--steps N": "how many steps",
            "--micro-batches M": "micro-batches a step; default: the recipe's",
            "--micro-batch B": "windows a micro-batch; default: the recipe's",
        },
    ),
    "to-parquet": Verb(
        "data.parquet:export_main",
        "write document shards as Parquet, through datasets",
        form="FOLDER OUT",
        options={
            "FOLDER": "where the document shards lie",
            "OUT": "the folder to write; it must not exist",
        },
    ),
    "from-parquet": Verb(
        "data.parquet:import_main",
        "read Parquet into document shards, through datasets",
        form="FOLDER OUT",
        options={
            "FOLDER": "where the Parquet files lie",
            "OUT": "the folder to write; it must not exist",
        },
    ),
    "inspect": Verb(
        "data.inspection.inspect:main",
        "write a page that shows what the stages made",
        options={
            "--stage S": "fetch, clean, tokenizer, pack or all; default all",
            "--out FILE.html": "the page; default inspect-STAGE.html in the run's folder",
            "--samples N": "how many of each kind are shown; default 6",
            "--seed S": "draws them; default 0",
        },
    ),
    "check": Verb("data.check:main", "check the sections of a recipe that data/ reads"),
}

if __name__ == "__main__":
    main("data", VERBS)
