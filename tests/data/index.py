"""A package index on this machine: real HTTP, files made on the spot, and faults on request."""

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data.sources.pypiindex import pip_settings
from tests.data.packed import gzipped

Members = Mapping[str, str | bytes]


def make_sdist(members: Members) -> bytes:
    """A .tar.gz of the given members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(_bytes(content))
            archive.addfile(info, io.BytesIO(_bytes(content)))
    return gzipped(buffer.getvalue())


def make_wheel(members: Members) -> bytes:
    """A .whl of the given members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


@dataclass(slots=True)
class Index:
    """What the index holds and how it misbehaves; `asked` counts the requests by path."""

    files: dict[str, bytes] = field(default_factory=dict)
    listed_sha256: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    is_stalling: bool = False
    has_stalled: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def reset(self) -> None:
        """Empty the index and let it behave."""
        for state in (self.files, self.listed_sha256, self.statuses, self.asked):
            state.clear()
        self.is_stalling = False

    def add(self, name: str, content: bytes) -> str:
        """Put a file of package `corpus` on the index and return its SHA-256."""
        self.files[name] = content
        self.listed_sha256[name] = hashlib.sha256(content).hexdigest()
        return self.listed_sha256[name]

    def page(self) -> bytes:
        """The page of package `corpus` (PEP 691)."""
        files = [
            {"filename": name, "url": f"/files/{name}", "hashes": {"sha256": sha256} if sha256 else {}}
            for name, sha256 in self.listed_sha256.items()
        ]
        return json.dumps({"meta": {"api-version": "1.0"}, "name": "corpus", "files": files}).encode()


@contextmanager
def serving() -> Iterator[Index]:
    """Serve an index on a free port of this machine, and have this process's pip settings point to it."""
    index = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked[self.path] += 1
            if index.statuses:
                self.send_error(index.statuses.pop(0))
            elif self.path == "/simple/corpus/":
                self._send(index.page(), "application/vnd.pypi.simple.v1+json")
            elif self.path.removeprefix("/files/") in index.files:
                self._send(index.files[self.path.removeprefix("/files/")], "application/octet-stream")
            else:
                self.send_error(404)

        def _send(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            half = len(content) // 2
            self.wfile.write(content[:half])
            if index.is_stalling and self.path.startswith("/files/"):
                self.wfile.flush()
                index.has_stalled.set()
                index.may_go_on.wait(timeout=120)
                return
            self.wfile.write(content[half:])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    index.url = f"http://127.0.0.1:{server.server_port}/simple/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("PIP_INDEX_URL", index.url)
            environment.setenv("NO_PROXY", "127.0.0.1")
            pip_settings.cache_clear()
            yield index
    finally:
        pip_settings.cache_clear()
        index.may_go_on.set()
        server.shutdown()
        server.server_close()
