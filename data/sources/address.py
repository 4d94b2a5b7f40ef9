"""Addresses that a recipe may name: of the web, or of an object in a store, and never with a password in them."""

import re
from pathlib import PurePosixPath
from urllib.parse import SplitResult, unquote, urlsplit

from core.errors import ConfigError

WEB = ("http", "https")
FILE = re.compile(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*")


def check_web_address(url: str, *, where: str) -> None:
    """Raise ConfigError if an address is not of the web or holds a password, which would be published with it."""
    parts = split_address(url, where=where)
    if parts.scheme not in WEB or not parts.hostname or parts.username is not None:
        raise ConfigError(
            f"{where}: the address at {parts.hostname or url!r} is not one of http or https without a password; "
            "correct it"
        )


def split_address(url: str, *, where: str) -> SplitResult:
    """The parts of an address. Raises ConfigError if it has none."""
    try:
        return urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"{where}: {url!r} is no address: {error}; correct it") from error


def file_name(url: str) -> str:
    """The last part of an address."""
    return PurePosixPath(unquote(urlsplit(url).path)).name


def check_file_name(name: str, *, url: str, where: str) -> None:
    """Raise ConfigError if a name cannot be that of a file in the artifact."""
    if not FILE.fullmatch(name):
        raise ConfigError(f"{where}: {name!r} of {url} is no plain file name; give a name")
