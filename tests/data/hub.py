"""A small Hugging Face hub on this machine: what huggingface_hub asks of one, and faults on request.

It holds datasets as folders of files at one revision. An asked-for range is answered, as the hub does it.
"""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

NOTHING: Mapping[str, str] = {}


@dataclass(slots=True)
class Hub:
    """What the hub holds and how it misbehaves.

    datasets  files of each, by path
    gated     datasets whose files are shown to nobody
    faults    by the beginning of a path of the server, answers to the next requests: a status, or "drop" after half,
              or "stall" after half until the test is over
    asked     requests by method and path; `ranges` what was asked for of which file
    """

    revision: str = "1" * 40
    datasets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    faults: dict[str, list[int | str]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    ranges: list[tuple[str, str]] = field(default_factory=list)
    has_stalled: threading.Event = field(default_factory=threading.Event)
    may_go_on: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def path(self, repository: str, name: str) -> str:
        """Where a file lies on the server."""
        return f"/datasets/{repository}/resolve/{self.revision}/{name}"


def entry(name: str, content: bytes) -> dict[str, Any]:
    """A file as the hub lists it."""
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": name, "size": len(content), "oid": blob}


def listing(files: Mapping[str, bytes], folder: str) -> list[dict[str, Any]]:
    """What lies in a folder and below it."""
    prefix = f"{folder}/" if folder else ""
    names = [name for name in sorted(files) if name.startswith(prefix)]
    parents = {name.rsplit("/", level)[0] for name in names for level in range(1, name.count("/") + 1)}
    folders = [path for path in sorted(parents) if path.startswith(prefix)]
    found: list[dict[str, Any]] = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in folders]
    return [*found, *(entry(name, files[name]) for name in names)]


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub on a free port of this machine."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield hub
    finally:
        hub.may_go_on.set()
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers the hub's interface for one dataset."""

    hub: Hub

    def do_GET(self) -> None:
        """Facts about the dataset, its files and folders."""
        self._route()

    do_HEAD = do_POST = do_GET  # noqa: N815 (names of http.server)

    def _route(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked[f"{self.command} {path}"] += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        fault = self._fault(path)
        parts = path.removeprefix("/api").removeprefix("/datasets/").split("/", 4)
        repository, kind, revision, rest = "/".join(parts[:2]), *[*parts[2:], "", "", ""][:3]
        files = hub.datasets.get(repository)
        if isinstance(fault, int):
            self._answer(fault, b"")
        elif kind == "auth-check" and repository in hub.gated:
            self._answer(403, b"", headers={"X-Error-Code": "GatedRepo"})
        elif kind == "auth-check" and files is not None:
            self._json({})
        elif files is None:
            self._answer(404, b"", headers={"X-Error-Code": "RepoNotFound"})
        elif revision != hub.revision:
            self._answer(404, b"", headers={"X-Error-Code": "RevisionNotFound"})
        elif kind == "resolve":
            self._file(rest, files, is_gated=repository in hub.gated, fault=fault)
        elif kind == "revision":
            siblings = [{"rfilename": name} for name in sorted(files)]
            self._json({"id": repository, "sha": revision, "siblings": siblings, "tags": []})
        elif kind == "tree":
            found = listing(files, rest)
            self._json(found) if found else self._answer(404, b"", headers={"X-Error-Code": "EntryNotFound"})
        elif kind == "paths-info":
            self._json([entry(name, files[name]) for name in parse_qs(body).get("paths", []) if name in files])
        else:
            self._answer(404, b"")

    def _fault(self, path: str) -> int | str:
        waiting = next((faults for start, faults in self.hub.faults.items() if path.startswith(start)), [])
        return waiting.pop(0) if waiting and self.command != "HEAD" else ""

    def _file(self, name: str, files: Mapping[str, bytes], *, is_gated: bool, fault: str) -> None:
        if is_gated:
            self._answer(401, b"", headers={"X-Error-Code": "GatedRepo"})
            return
        if name not in files:
            self._answer(404, b"", headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.hub.revision})
            return
        content, asked = files[name], self.headers.get("Range", "")
        headers = {
            "ETag": f'"{entry(name, content)["oid"]}"',
            "X-Repo-Commit": self.hub.revision,
            "Accept-Ranges": "bytes",
        }
        if self.command == "GET":
            self.hub.ranges.append((name, asked))
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first or 0), min(int(last or len(content)) + 1, len(content))
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        self._answer(206 if asked else 200, content[start:end], headers=headers, fault=fault)

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), headers={"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes, *, headers: Mapping[str, str] = NOTHING, fault: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if fault else content)
        if fault == "stall":
            self.wfile.flush()
            self.hub.has_stalled.set()
            self.hub.may_go_on.wait(timeout=120)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""
