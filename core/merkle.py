"""Merkle roots over fixed-size chunks, so that a difference can be found without sending everything.

The tree is that of RFC 6962, section 2.1: leaves and nodes are hashed under different prefixes, and a tree of n
leaves splits at the largest power of two below n.
"""

import hashlib
from collections.abc import Mapping, Sequence

CHUNK_BYTES = 1 << 20


def leaf_hash(content: bytes | memoryview) -> bytes:
    """Hash of one leaf's content: SHA-256 of 0x00 and the content."""
    digest = hashlib.sha256(b"\x00")
    digest.update(content)
    return digest.digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes, in their order; of no leaves, SHA-256 of nothing (RFC 6962)."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])).digest()


def chunk_root(content: memoryview) -> bytes:
    """Root over a buffer's chunks of CHUNK_BYTES (the last one may be shorter)."""
    return merkle_root([leaf_hash(chunk) for chunk in chunks(content)])


def chunks(content: memoryview) -> list[memoryview]:
    """The chunks of a buffer, whose hashes are the leaves of its root."""
    data = content.cast("B")
    return [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]


def named_root(roots: Mapping[str, bytes]) -> str:
    """Root in hex over named roots, ordered by name; the names are hashed too."""
    leaves = [leaf_hash(name.encode() + b"\x00" + root) for name, root in sorted(roots.items())]
    return merkle_root(leaves).hex()
