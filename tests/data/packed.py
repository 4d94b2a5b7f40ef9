"""Bytes as gzip packs them, the same at any time: they are in the names of tests, which all testers must agree on."""

import gzip


def gzipped(content: bytes) -> bytes:
    """Packed, without the time of day."""
    return gzip.compress(content, mtime=0)
