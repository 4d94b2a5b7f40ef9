"""A release in a store of objects: S3 through pyarrow's own client behind fsspec's interface, all else through fsspec.

s3fs holds a whole tree of packages to versions that nothing else here can live with. What the client needs to know may
stand in the address as pyarrow reads it: `s3://bucket/path?endpoint_override=host:9000&scheme=http&region=x`.
"""

import shutil
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from core.errors import ConfigError, DataError, RetryError
from core.hashing import READ_BYTES
from release.publish.parts import Part
from release.publish.place import Blocks, GoneError, scheme_of

# What a store says for good, as pyarrow and botocore put it; all else may pass.
GONE = ("NO_SUCH_KEY", "NO_SUCH_BUCKET", "RESOURCE_NOT_FOUND", "NoSuchKey", "NoSuchBucket")
REFUSED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "HTTP status 403", "HTTP status 401")
OPTIONS = ("endpoint_override", "scheme", "region", "allow_bucket_creation")
TIMEOUT_S = {"connect_timeout": 15.0, "request_timeout": 60.0}


class Storage:
    """Objects below an address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._store, self._root = _open_store(address)

    def open(self, path: str, *, start: int = 0) -> tuple[int, Blocks]:
        """An object's bytes."""
        key = self._key(path)
        try:
            size = int(self._store.info(key)["size"])
        except OSError as error:
            raise self._fault(path, error) from error
        return start, self._read(path, start, size)

    def prepare(self) -> None:
        """Buckets are made by their owners."""

    def has(self, part: Part) -> bool:
        """Whether an object of the size lies there."""
        try:
            return int(self._store.info(self._key(part.path))["size"]) == part.bytes
        except OSError as error:
            fault = self._fault(part.path, error)
            if isinstance(fault, GoneError):
                return False
            raise fault from error

    def write(self, part: Part, file: Path) -> None:
        """Put an object: stores show it when it is complete."""
        key = self._key(part.path)
        try:
            if scheme_of(self.address) != "s3":
                self._store.makedirs(key.rpartition("/")[0], exist_ok=True)
            with file.open("rb") as source, self._store.open(key, "wb") as target:
                shutil.copyfileobj(source, target, READ_BYTES)
        except OSError as error:
            raise self._fault(part.path, error) from error

    def finish(self) -> None:
        """Everything is visible already."""

    def _key(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"

    def _read(self, path: str, start: int, size: int) -> Blocks:
        try:
            with self._store.open(self._key(path), "rb") as stream:
                stream.seek(min(start, size))
                while block := stream.read(READ_BYTES):
                    yield block
        except OSError as error:
            raise self._fault(path, error) from error

    def _fault(self, path: str, error: OSError) -> DataError | RetryError:
        said = str(error)
        if isinstance(error, FileNotFoundError | IsADirectoryError) or any(word in said for word in GONE):
            return GoneError(f"{path} is not at {self.address}")
        words = said.partition("AWS Error ")[2].split(" ")[0]
        reason = f"{type(error).__name__} {words}".strip()
        if isinstance(error, PermissionError) or any(word in said for word in REFUSED):
            return DataError(f"{path} at {self.address} is refused ({reason}); check its access")
        return RetryError(f"{path} at {self.address} failed ({reason}); try again later")


def _open_store(address: str) -> tuple[Any, str]:
    """A client for an address, and the path there. They cost half a second: imported when used."""
    parts = urlsplit(address)
    try:
        import fsspec
        import pyarrow.fs
        from fsspec.implementations.arrow import ArrowFSWrapper

        if parts.scheme == "s3":
            options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
            strange = next((name for name in options if name not in OPTIONS), "")
            if strange:
                raise ConfigError(f"{address} has the option {strange!r}; there are {', '.join(OPTIONS)}")
            patience = pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=1)
            arrow = pyarrow.fs.S3FileSystem(retry_strategy=patience, **TIMEOUT_S, **options)
            return ArrowFSWrapper(arrow), f"{parts.netloc}{parts.path}"
        return cast(tuple[Any, str], fsspec.core.url_to_fs(address))
    except (ImportError, ValueError, TypeError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"{address} has no client here: {said}; correct the address") from error
