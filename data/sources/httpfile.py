"""Downloads a file from the web: politely and patiently. Whether it is the right one, its hash must tell.

A connection that breaks is taken up where it broke (RFC 9110, section 14: Range, with If-Range where the server gave a
strong ETag). 408, 425, 429 and 5xx are asked again, each time after a longer pause or after what Retry-After asks for;
an attempt that brought the file further does not count. robots.txt is heeded at every hop of a redirection, and
requests to a host keep their distance. Content is taken as it is stored: no transfer compression, so a .gz stays one.
"""

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from core.errors import DataError, RetryError
from core.progress import Progress
from data.sources.address import check_web_address
from data.sources.download import Manners
from data.sources.robots import Robots, parse_robots

AGENT = "wholegrain"
READ_BYTES = 1 << 14
TIMEOUT_S = (15.0, 60.0)
PASSING = (408, 425, 429)
REDIRECTS = (301, 302, 303, 307, 308)
MAX_HOPS = 5
FAULTS = (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The time, as something that a test may replace."""

    now_s: Callable[[], float] = time.monotonic
    wait_s: Callable[[float], None] = time.sleep
    date: Callable[[], datetime] = lambda: datetime.now(UTC)


class PassingFault(Exception):  # noqa: N818 (it may pass: no error yet)
    """A fault that may be over in a moment; `after_s` is how long the server asked to wait."""

    def __init__(self, reason: str, *, after_s: float = 0.0, is_short: bool = False) -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.is_short = is_short


@dataclass(slots=True)
class Part:
    """How far a download is: bytes on the disk, the length that the server declares, and its ETag.

    What an earlier run left is gone on with unseen: the hash of the whole decides, and `keep` begins again if it is
    wrong.
    """

    path: Path
    received: int = 0
    declared: int = -1
    etag: str = ""
    is_left: bool = False


@dataclass(slots=True)
class Web:
    """A client that remembers each host's robots.txt and when it was last asked."""

    manners: Manners
    clock: Clock = field(default_factory=Clock)
    session: requests.Session = field(default_factory=requests.Session)
    robots: dict[str, Robots] = field(default_factory=dict)
    asked_s: dict[str, float] = field(default_factory=dict)

    def receive(self, url: str, path: Path) -> str:
        """Download a file to `path` and return the ETag it came with; what is there already is taken as its beginning.

        Raises DataError if it is gone, forbidden or of a wrong length; RetryError if the network keeps failing.
        """
        received = path.stat().st_size if path.exists() else 0
        part = Part(path, received=received, is_left=received > 0)
        self._persist(url, part)
        return part.etag

    def _persist(self, url: str, part: Part) -> None:
        number, best = 0, part.received
        while True:
            try:
                self._attempt(url, part)
                return
            except PassingFault as fault:
                number, best = (1, part.received) if part.received > best else (number + 1, best)
                if number >= self.manners.attempts.count:
                    self._give_up(url, part, fault)
                self.clock.wait_s(max(fault.after_s, self.manners.attempts.pause_s(number)))

    def _give_up(self, url: str, part: Part, fault: PassingFault) -> None:
        if fault.is_short:
            raise DataError(
                f"{url} declares {part.declared} bytes and ends after {part.received} each time; the server's file is "
                "damaged: take another source"
            ) from fault
        count = self.manners.attempts.count
        raise RetryError(f"{url} could not be fetched in {count} attempts, last: {fault}; try again later") from fault

    def _attempt(self, url: str, part: Part) -> None:
        headers = {}
        if part.received:
            headers["Range"] = f"bytes={part.received}-"
            if part.etag and not part.etag.startswith("W/"):
                headers["If-Range"] = part.etag
        with self._ask(url, headers) as answer:
            if answer.status_code == 416 and part.received:
                if not part.is_left:
                    self._check_end(url, part, answer)
                return
            if answer.status_code not in (200, 206):
                raise _refusal(url, answer.status_code)
            _begin(part, answer)
            self._read(url, part, answer)

    def _read(self, url: str, part: Part, answer: requests.Response) -> None:
        total = part.declared if part.declared > 0 else sys.maxsize
        progress = Progress(f"fetch {url.rpartition('/')[2]}", total=total, unit="bytes", done=part.received)
        with part.path.open("r+b" if part.received else "wb") as stream:
            stream.seek(part.received)
            try:
                for block in answer.raw.stream(READ_BYTES, decode_content=False):
                    stream.write(block)
                    part.received += len(block)
                    progress.advance(len(block))
            except FAULTS as error:
                raise PassingFault(type(error).__name__, is_short=True) from error

    def _check_end(self, url: str, part: Part, answer: requests.Response) -> None:
        found = re.fullmatch(r"bytes \*/(\d+)", answer.headers.get("Content-Range", ""))
        if found and int(found[1]) != part.received:
            raise DataError(f"{url} is now {found[1]} bytes long, it was {part.declared}; find out who changed it")
        if part.declared not in (-1, part.received):
            raise DataError(f"{url} declares {part.declared} bytes and has {part.received}; take another source")

    def _ask(self, url: str, headers: dict[str, str]) -> requests.Response:
        """Ask for an address and follow where it leads, as robots.txt allows."""
        for _ in range(MAX_HOPS + 1):
            self._check_robots(url)
            answer = self._get(url, headers)
            if answer.status_code not in REDIRECTS:
                return answer
            answer.close()
            url = urljoin(url, answer.headers.get("Location", ""))
            check_web_address(url, where="a redirection")
        raise DataError(f"{url} is reached after more than {MAX_HOPS} redirections; give the last address")

    def _get(self, url: str, headers: dict[str, str]) -> requests.Response:
        host = _host(url)
        pause_s = max(self.manners.request_wait_s, self.robots[host].delay_s if host in self.robots else 0.0)
        if host in self.asked_s and (left_s := self.asked_s[host] + pause_s - self.clock.now_s()) > 0:
            self.clock.wait_s(left_s)
        self.asked_s[host] = self.clock.now_s()
        sent = {"User-Agent": AGENT, "Accept-Encoding": "identity", **headers}
        try:
            answer = self.session.get(url, headers=sent, stream=True, allow_redirects=False, timeout=TIMEOUT_S)
        except FAULTS as error:
            raise PassingFault(type(error).__name__) from error
        except requests.RequestException as error:
            raise DataError(f"{url} cannot be asked for ({type(error).__name__}); correct the address") from error
        if answer.status_code >= 500 or answer.status_code in PASSING:
            answer.close()
            raise PassingFault(f"HTTP status {answer.status_code}", after_s=self._retry_after_s(url, answer))
        return answer

    def _retry_after_s(self, url: str, answer: requests.Response) -> float:
        """What Retry-After asks for: seconds or a date. Raises RetryError if it is more than we would wait."""
        value = answer.headers.get("Retry-After", "").strip()
        try:
            seconds = float(value) if value.isdecimal() else 0.0
            if value and not value.isdecimal():
                seconds = max(0.0, (parsedate_to_datetime(value) - self.clock.date()).total_seconds())
        except (ValueError, TypeError):
            return 0.0
        if seconds > self.manners.retry_after_max_s:
            raise RetryError(f"{_host(url)} asks to wait {seconds:.0f} s; try again then (sources.retry_after_max_s)")
        return seconds

    def _check_robots(self, url: str) -> None:
        host, parts = _host(url), urlsplit(url)
        if host not in self.robots:
            self.robots[host] = self._find_robots(f"{host}/robots.txt")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not self.robots[host].is_allowed(path):
            raise DataError(f"{host}/robots.txt asks programs not to fetch {path}; take another source")

    def _find_robots(self, url: str) -> Robots:
        """A host's rules; one without the file allows all. An error of the server's is a fault that may pass."""
        for _ in range(MAX_HOPS + 1):
            with self._get(url, {}) as answer:
                if answer.status_code in REDIRECTS:
                    url = urljoin(url, answer.headers.get("Location", ""))
                    continue
                if answer.status_code != 200:
                    return Robots()
                try:
                    return parse_robots(answer.content.decode(errors="replace"), agent=AGENT)
                except (requests.RequestException, *FAULTS) as error:
                    raise PassingFault(type(error).__name__) from error
        return Robots()


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _refusal(url: str, status: int) -> DataError:
    if status in (404, 410):
        return DataError(f"{url} is gone (HTTP status {status}); take another source")
    return DataError(f"{url} is refused with HTTP status {status}; check its access")


def _begin(part: Part, answer: requests.Response) -> None:
    """Go on where the download broke off if the server does, else begin again; learn length and ETag."""
    etag = answer.headers.get("ETag", "")
    length = answer.headers.get("Content-Length", "")
    if answer.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if found and part.is_left:
            part.declared, part.etag = -1 if found[2] == "*" else int(found[2]), etag
            part.is_left = False
        is_same = found is not None and found[2] in ("*", str(part.declared)) and etag == part.etag
        if found and is_same and int(found[1]) == part.received:
            return
        part.received = 0
        raise PassingFault("another range than asked for")
    part.received, part.etag, part.is_left = 0, etag, False
    part.declared = int(length) if length.isdecimal() else -1
