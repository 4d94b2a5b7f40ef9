"""Verbs of data/: fetch, clean, tokenizer, pack, and what reads their results."""

from core.cli import Verb, main

VERBS = {
    "fetch": Verb("data.sources.fetch:main", "download the sources by pinned version and hash"),
    "clean": Verb("data.clean:main", "normalize, filter, deduplicate, split off the held-out documents"),
    "tokenizer": Verb("data.tokenizer:main", "train the SentencePiece tokenizer on the training split"),
    "pack": Verb("data.pack:main", "write token shards and fix the data order"),
    "pin": Verb("data.sources.pin:main", "print the hashes that the sources of a recipe should have"),
    "plan": Verb("data.plan:main", "say what a run will take of every source, and refuse what cannot be"),
    "manifest": Verb("data.corpus.manifest:main", "write down everything that is to be known of a corpus"),
    "verify": Verb("data.corpus.verify:main", "check a corpus against its manifest, whole or by a sample"),
    "rebuild": Verb("data.corpus.rebuild:main", "make a corpus again from its sources, and compare the roots"),
    "redact": Verb("data.corpus.redact:main", "zero the tokens of documents in a copy of a pack, leaving tombstones"),
    "digests": Verb("data.digests:main", "print the digest of the token ids of every step"),
    "to-parquet": Verb("data.parquet:export_main", "write document shards as Parquet, through datasets"),
    "from-parquet": Verb("data.parquet:import_main", "read Parquet into document shards, through datasets"),
    "inspect": Verb("data.inspection.inspect:main", "write a page that shows what the stages made"),
    "check": Verb("data.check:main", "check the sections of a recipe that data/ reads"),
}

if __name__ == "__main__":
    main("data", VERBS)
