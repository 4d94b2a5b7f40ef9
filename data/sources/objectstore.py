"""Receives an object of a store through fsspec, patiently; what breaks off is taken up where it broke.

Whether it is the right object, its hash must tell: stores rename nothing and promise nothing between two reads.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import fsspec
import pyarrow.fs
from fsspec.implementations.arrow import ArrowFSWrapper

from core.errors import ConfigError, DataError, RetryError
from core.progress import Progress
from data.sources.download import Attempts

READ_BYTES = 1 << 20
TIMEOUT_S = {"connect_timeout": 15.0, "request_timeout": 60.0}
# What a store says for good, as pyarrow and botocore put it; all else may pass.
GONE = ("NO_SUCH_KEY", "NO_SUCH_BUCKET", "RESOURCE_NOT_FOUND", "NoSuchKey", "NoSuchBucket")
REFUSED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "HTTP status 403", "HTTP status 401")


def receive_object(url: str, path: Path, *, options: Mapping[str, Any], attempts: Attempts) -> None:
    """Receive an object to `path`; what is there already is taken as its beginning.

    Raises ConfigError if there is no client for the address, DataError if the object is gone or refused, RetryError if
    the store keeps failing. An attempt that brought the object further does not count.
    """
    store, key = _open_store(url, options)
    number, best = 0, path.stat().st_size
    while True:
        try:
            _attempt(store, key, path, what=url)
            return
        except (OSError, EOFError) as error:
            _check_passing(url, error)
            received = path.stat().st_size
            number, best = (1, received) if received > best else (number + 1, best)
            if number >= attempts.count:
                raise RetryError(
                    f"{url} could not be fetched in {attempts.count} attempts, last: {_reason(error)}; try again later"
                ) from error
            time.sleep(attempts.pause_s(number))


def _open_store(url: str, options: Mapping[str, Any]) -> tuple[fsspec.AbstractFileSystem, str]:
    scheme, _, key = url.partition("://")
    try:
        if scheme == "s3":
            # One attempt at a time: ours are the ones that are counted and waited for.
            patience = pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=1)
            arrow = pyarrow.fs.S3FileSystem(**{"retry_strategy": patience, **TIMEOUT_S, **options})
            return ArrowFSWrapper(arrow), key
        return cast(tuple[fsspec.AbstractFileSystem, str], fsspec.core.url_to_fs(url, **options))
    except (ImportError, ValueError, TypeError) as error:
        raise ConfigError(f"{url} has no client here: {_line(error)}; correct the address or its store") from error


def _attempt(store: fsspec.AbstractFileSystem, key: str, path: Path, *, what: str) -> None:
    """Read what is missing of an object. Raises EOFError if it ends before the length that the store tells."""
    size = int(store.info(key)["size"])
    if path.stat().st_size > size:
        path.write_bytes(b"")
    with store.open(key, "rb") as stream, path.open("ab") as out:
        progress = Progress(f"fetch {what.rpartition('/')[2]}", total=size, unit="bytes", done=out.tell())
        stream.seek(out.tell())
        while out.tell() < size:
            block = stream.read(READ_BYTES)
            if not block:
                raise EOFError(f"ends after {out.tell()} of {size} bytes")
            out.write(block)
            out.flush()
            progress.advance(len(block))


def _check_passing(url: str, error: Exception) -> None:
    if isinstance(error, FileNotFoundError | IsADirectoryError) or any(word in str(error) for word in GONE):
        raise DataError(f"{url} is gone: the store has no such object; take another source") from error
    if isinstance(error, PermissionError) or any(word in str(error) for word in REFUSED):
        raise DataError(f"{url} is refused by the store ({_reason(error)}); check its access") from error


def _reason(error: Exception) -> str:
    """What happened, without the address that a client's message may hold."""
    words = str(error).partition("AWS Error ")[2].split(" ")
    return f"{type(error).__name__}{f' {words[0]}' if words[0] else ''}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
