"""Where releases lie: what every room of this folder can do, and which room an address belongs to.

    PATH                            a folder on disk                                    folder.py
    http(s)://HOST/PATH             any web server; read only                           web.py
    s3://BUCKET/PATH, SCHEME://...  what pyarrow or fsspec has a client for             storage.py
    hf://[datasets/]OWNER/NAME[@REVISION]   a repository of a Hugging Face hub          hub.py
    oci://HOST/NAME:TAG             a registry; over plain http on this machine only    oci.py
    FILE.torrent                    written, not served: transfer is a client's         torrent.py

No address may hold a password: addresses are published. Clients find credentials in their own places.
"""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast
from urllib.parse import urlsplit

from core.errors import ConfigError, DataError
from release.publish.parts import Digest, Part

Blocks = Iterator[bytes]

# By scheme: the room's module and its class, imported when needed, since clients are heavy.
ROOMS = {
    "": ("release.publish.folder", "Folder"),
    "http": ("release.publish.web", "Web"),
    "https": ("release.publish.web", "Web"),
    "hf": ("release.publish.hub", "Hub"),
    "oci": ("release.publish.oci", "Registry"),
}
OTHER = ("release.publish.storage", "Storage")
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


class GoneError(DataError):
    """A place has no such file, or does not show it."""


class Source(Protocol):
    """A place that can be read."""

    address: str

    def open(self, path: str, *, start: int = 0) -> tuple[int, Blocks]:
        """A file's bytes from byte `start` on, or from an earlier one if that cannot be had; and from which.

        Raises GoneError, or RetryError for a fault that may pass, also while the bytes come.
        """


class Place(Source, Protocol):
    """A place that can be written."""

    def prepare(self) -> None:
        """Make the place, if it has to be made."""

    def has(self, part: Part) -> bool:
        """Whether the place says that it has this part. It is read before that is believed."""

    def write(self, part: Part, file: Path) -> None:
        """Bring a part, which lies in `file`, to the place. A reader sees it whole or not at all."""

    def finish(self) -> None:
        """Make visible what was written."""


def open_source(address: str) -> Source:
    """The place of an address, to be read. Raises ConfigError if the address is none."""
    return _open(address)


def open_place(address: str) -> Place:
    """The place of an address, to be written. Raises ConfigError if it can only be read."""
    place = _open(address)
    if not hasattr(place, "write"):
        raise ConfigError(f"{address} can only be read; publish to a folder or store that it serves")
    return place


def scheme_of(address: str) -> str:
    """The scheme of an address in lower case; empty for a path."""
    found = SCHEME.match(address)
    return found[1].lower() if found else ""


def read_all(source: Source, path: str, *, limit: int) -> bytes:
    """A whole small file. Raises DataError if it has more than `limit` bytes."""
    content = bytearray()
    for block in source.open(path)[1]:
        content += block
        if len(content) > limit:
            raise DataError(f"{path} at {source.address} has more than {limit} bytes; do not use this release")
    return bytes(content)


def flaw_at(source: Source, part: Part) -> str:
    """What a part at a place has otherwise; empty if it is the part. Raises GoneError, RetryError as reading does."""
    digest = Digest(part)
    for block in source.open(part.path)[1]:
        digest.update(block)
        if digest.is_over:
            break
    return digest.flaw


def _open(address: str) -> Place:
    scheme = scheme_of(address)
    try:
        has_password = "@" in urlsplit(address).netloc and scheme not in ("", "hf")
    except ValueError as error:
        raise ConfigError(f"{address!r} is no address: {error}; correct it") from error
    if has_password:
        raise ConfigError(
            f"the address at {urlsplit(address).hostname} holds a password or name, and addresses are published; "
            "leave it to the client's own files or variables"
        )
    module, name = ROOMS.get(scheme, OTHER)
    return cast(Place, getattr(importlib.import_module(module), name)(address))
