"""A web server on this machine that misbehaves on request: it drops connections, lies about lengths, answers 500."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EMPTY: Mapping[str, str] = {}


@dataclass(slots=True)
class Site:
    """What the server holds and how it misbehaves.

    faults   answers to the next requests for files: a status, or "drop" after half of what is left
    added    how many bytes more than it has it declares
    shift    how many bytes behind the one that was asked for an answered range begins
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[int | str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    etag: str = '"v1"'
    robots: str = ""
    robots_status: int = 404
    added: int = 0
    shift: int = 0
    is_length_told: bool = True
    is_range_ignored: bool = False
    url: str = ""


@contextmanager
def serving() -> Iterator[Site]:  # noqa: C901 (the handler's branches are counted in)
    """Serve a site on a free port of this machine."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked[self.path] += 1
            if self.path == "/robots.txt":
                self._answer(200 if site.robots else site.robots_status, site.robots.encode())
                return
            fault = site.faults.pop(0) if site.faults else ""
            if isinstance(fault, int):
                self._answer(fault, b"", headers=site.headers)
            elif self.path not in site.files:
                self._answer(404, b"")
            else:
                self._send(site.files[self.path], is_dropped=fault == "drop")

        def _send(self, content: bytes, *, is_dropped: bool) -> None:
            asked = self.headers.get("Range", "")
            site.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not site.is_range_ignored else 0
            if start and self.headers.get("If-Range", site.etag) != site.etag:
                start = 0
            if start and start >= len(content):
                self._answer(416, b"", headers={"Content-Range": f"bytes */{len(content)}"})
                return
            start += site.shift if start else 0
            part = content[start:]
            sent = part[: len(part) // 2] if is_dropped else part
            place = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
            self._answer(
                206 if start else 200, sent, declared=len(part) + site.added, headers={"ETag": site.etag, **place}
            )

        def _answer(
            self, status: int, content: bytes, *, declared: int = -1, headers: Mapping[str, str] = EMPTY
        ) -> None:
            self.send_response(status)
            if site.is_length_told or status != 200:
                self.send_header("Content-Length", str(len(content) if declared < 0 else declared))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
