"""A release on any web server, and the questions that other rooms ask over HTTP.

Redirections are followed by requests, which takes credentials from ~/.netrc and leaves them behind on another host.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import requests
import urllib3

from core.errors import DataError, RetryError
from core.hashing import READ_BYTES
from release.publish.place import Blocks, GoneError

FAULTS = (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError)
PASSING = (408, 425, 429)
GONE = (404, 410)
TIMEOUT_S = (15.0, 60.0)
AGENT = "wholegrain-release/1"


class Web:
    """A folder that a web server shows."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._session = new_session()

    def open(self, path: str, *, start: int = 0) -> tuple[int, Blocks]:
        """A file's bytes."""
        return receive(self._session, f"{self.address.rstrip('/')}/{quote(path)}", start=start)


def new_session() -> requests.Session:
    """A client that asks for bytes as they are."""
    session = requests.Session()
    session.headers.update({"User-Agent": AGENT, "Accept-Encoding": "identity"})
    return session


def receive(
    session: requests.Session, url: str, *, start: int = 0, headers: Mapping[str, str] | None = None
) -> tuple[int, Blocks]:
    """A file's bytes from `start` on, or from the first if the server does not heed ranges; and from which."""
    sent = dict(headers or {}) | ({"Range": f"bytes={start}-"} if start else {})
    answer = ask(session, "GET", url, headers=sent, stream=True)
    if answer.status_code == 416:
        # Nothing lies behind `start`: whether what is there already is the whole, its hash tells.
        answer.close()
        return start, iter(())
    expect(answer, (200, 206))
    begins = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", "")) if answer.status_code == 206 else None
    first = int(begins[1]) if begins else 0
    if answer.status_code == 206 and first > start:
        answer.close()
        raise DataError(f"{url} was asked for byte {start} on and answers from byte {first}; take another source")
    return first, _blocks(answer)


def ask(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
    """Ask a server. Raises RetryError if it cannot be reached or has a fault that may pass."""
    try:
        answer = session.request(method, url, timeout=TIMEOUT_S, **options)
    except FAULTS as error:
        raise RetryError(f"{url} cannot be reached ({type(error).__name__}); try again later") from error
    except requests.RequestException as error:
        raise DataError(f"{url} cannot be asked for ({type(error).__name__}); correct the address") from error
    if answer.status_code >= 500 or answer.status_code in PASSING:
        answer.close()
        raise RetryError(f"{url} answers HTTP status {answer.status_code}; try again later")
    return answer


def expect(answer: requests.Response, statuses: Iterable[int]) -> requests.Response:
    """The answer, if it has one of the statuses. Raises GoneError or DataError otherwise."""
    if answer.status_code in statuses:
        return answer
    said = " ".join(answer.text[:200].split())
    answer.close()
    if answer.status_code in GONE:
        raise GoneError(f"{answer.url} is not there (HTTP status {answer.status_code})")
    raise DataError(f"{answer.url} answers HTTP status {answer.status_code}: {said!r}; check address and access")


def read_json(answer: requests.Response) -> dict[str, Any]:
    """The JSON object of an answer. Raises DataError if it is none."""
    try:
        value = json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{answer.url} answers with no JSON: {error}; check the address") from error
    except FAULTS as error:
        raise RetryError(f"{answer.url} broke off ({type(error).__name__}); try again later") from error
    if not isinstance(value, dict):
        raise DataError(f"{answer.url} answers with no JSON object; check the address")
    return value


def _blocks(answer: requests.Response) -> Blocks:
    with answer:
        try:
            yield from answer.raw.stream(READ_BYTES, decode_content=False)
        except FAULTS as error:
            raise RetryError(f"{answer.url} broke off ({type(error).__name__}); try again later") from error
