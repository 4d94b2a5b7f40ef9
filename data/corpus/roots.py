"""What a corpus is known by: a Merkle root for each of its parts, and one over these.

    sources    every fetched file and every file of evidence, by source and name
    documents  every file of cleaned documents, the training split and the held-out one
    tokenizer  SHA-256 of the model's canonical bytes
    shards     every shard's sidecar, which holds the hashes and the Merkle root of its tokens
    order      SHA-256 of order.json, the data root
    corpus     the five above

They are of results alone: the same text by other code has the same roots, and so has another machine's rebuild.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from core.hashing import canonical_json, sha256_hex
from core.merkle import named_root

PARTS = ("sources", "documents", "tokenizer", "shards", "order")
CORPUS = "corpus"

Record = Mapping[str, Any]


def sources_root(sources: Iterable[Record]) -> str:
    """Root over the files and the evidence of sources, as sources.json or a manifest lists them."""
    return named_root(
        {
            f"{part}/{source['name']}/{entry['name']}": bytes.fromhex(entry["sha256"])
            for source in sources
            for part in ("files", "evidence")
            for entry in source[part]
        }
    )


def files_root(files: Iterable[Record]) -> str:
    """Root over files by path."""
    return named_root({entry["path"]: bytes.fromhex(entry["sha256"]) for entry in files})


def shards_root(sidecars: Iterable[Record]) -> str:
    """Root over the sidecars of shards."""
    return named_root({car["name"]: bytes.fromhex(sha256_hex(canonical_json(car))) for car in sidecars})


def with_corpus(parts: Mapping[str, str]) -> dict[str, str]:
    """The roots of the parts, and that of the corpus."""
    ordered = {name: parts[name] for name in PARTS}
    return {**ordered, CORPUS: named_root({name: bytes.fromhex(root) for name, root in ordered.items()})}
