"""Downloads one named file of one exact version from a Python package index, and nothing else.

The file is never unpacked to the disk and the package's code never runs (`pip download` of a source archive runs its
set-up code). The index is the one that the user's pip is configured with; its address may hold a password, so no
message shows it. Method: the simple repository interface, PEP 503 and PEP 691, through pypi-simple.
"""

import ast
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import requests
from pypi_simple import (
    PYPI_SIMPLE_ENDPOINT,
    DistributionPackage,
    NoSuchProjectError,
    PyPISimple,
    UnsupportedContentTypeError,
    UnsupportedRepoVersionError,
)
from requests.exceptions import (
    ChunkedEncodingError,
    ConnectionError,
    HTTPError,
    InvalidSchema,
    InvalidURL,
    MissingSchema,
    Timeout,
)

from core.errors import ConfigError, DataError, RetryError
from core.progress import Progress
from data.sources.download import Attempts

TIMEOUT_S = (15.0, 60.0)
PASSING_STATUS = (408, 425, 429)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One file of one version of a package, and what it must hash to, if that is known."""

    package: str
    version: str
    file: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.file} of {self.package} {self.version}"


@cache
def pip_settings() -> dict[str, str]:
    """What the user's pip is configured with (files and environment); empty where there is no pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, dict[str, str]] = {}
    for line in answer.stdout.splitlines() if answer.returncode == 0 else ():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        found.setdefault(option, {})[section] = str(ast.literal_eval(value))
    settings = {option: _strongest(values) for option, values in found.items()}
    return {option: value for option, value in settings.items() if value is not None}


def _strongest(values: dict[str, str]) -> str | None:
    """The environment wins over the section of `pip download`, and that over the global one, as in pip."""
    return next((values[section] for section in (":env:", "download", "global") if section in values), None)


def open_index() -> PyPISimple:
    """A client of the index that pip would ask, with pip's proxy and certificates; requests adds its own settings."""
    settings = pip_settings()
    session = requests.Session()
    if "proxy" in settings:
        session.proxies = {"http": settings["proxy"], "https": settings["proxy"]}
    # REQUESTS_CA_BUNDLE would override the session's own setting: it is the user's choice for this library.
    if "cert" in settings and "REQUESTS_CA_BUNDLE" not in os.environ:
        session.verify = settings["cert"]
    return PyPISimple(settings.get("index-url", PYPI_SIMPLE_ENDPOINT), session=session)


def download(release: Release, target: Path, *, attempts: Attempts) -> None:
    """Download a release to `target`, where it must still be checked.

    Raises DataError if the file is not there or listed with another hash, RetryError if the network keeps failing.
    """
    with open_index() as client:
        found = _persist(lambda: _find(client, release), what=f"the index page of {release.package}", attempts=attempts)
        _persist(lambda: _receive(client, found, target), what=str(release), attempts=attempts)


def _find(client: PyPISimple, release: Release) -> DistributionPackage:
    try:
        packages = client.get_project_page(release.package, timeout=TIMEOUT_S).packages
    except NoSuchProjectError as error:
        raise DataError(
            f"the index has no package {release.package}; check pip's index-url, or take another source"
        ) from error
    except (UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
        raise DataError("what answers at pip's index-url is not a package index; correct pip's config") from error
    files = {package.filename: package for package in packages if package.version == release.version}
    if release.file not in files:
        versions = sorted({package.version for package in packages if package.version})
        there = f"of that version it has {', '.join(sorted(files))}" if files else f"it has {', '.join(versions)}"
        raise DataError(f"the index no longer has {release}; {there}; choose one of these and its hash")
    found = files[release.file]
    listed = found.digests.get("sha256", release.sha256)
    if release.sha256 and listed != release.sha256:
        raise DataError(
            f"the index lists {release} with SHA-256 {listed}, the recipe wants {release.sha256}; correct the recipe"
        )
    return found


def _receive(client: PyPISimple, found: DistributionPackage, target: Path) -> None:
    client.download_package(
        found,
        target,
        verify=False,
        timeout=TIMEOUT_S,
        progress=lambda total: _Bar(found.filename, total or found.size or 0),
    )


def _persist(act: Callable[[], Result], *, what: str, attempts: Attempts) -> Result:
    """Act, and act again after a failure of the network, waiting longer each time."""
    for number in range(1, attempts.count + 1):
        try:
            return act()
        except (InvalidSchema, InvalidURL, MissingSchema) as error:
            raise ConfigError("pip's index-url is not an http address; correct pip's config") from error
        except HTTPError as error:
            status = error.response.status_code
            if status < 500 and status not in PASSING_STATUS:
                raise DataError(f"the index answers {what} with HTTP status {status}; check its access") from error
            failure = f"HTTP status {status}"
        except (ConnectionError, ChunkedEncodingError, Timeout) as error:
            failure = type(error).__name__
        if number < attempts.count:
            time.sleep(attempts.pause_s(number))
    raise RetryError(f"{what} could not be fetched in {attempts.count} attempts, last: {failure}; try again later")


class _Bar:
    """Progress of one download, as pypi-simple wants it."""

    def __init__(self, name: str, total: int) -> None:
        self._progress = Progress(f"fetch {name}", total=total, unit="bytes")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, count: int) -> None:
        self._progress.advance(count)
